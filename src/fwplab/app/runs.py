"""The runs of one language and mixer: their results, learning curves, current trainings, and a comparison of two."""

import difflib
import json
import time
from pathlib import Path

import altair
import streamlit as st

from fwplab.app.shared import cell_records, cell_rows, choose_cell, show_left_out, show_user_errors, specs
from fwplab.app.sharing import for_all_sessions
from fwplab.app.text import show
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.tables.numbers import percent
from fwplab.training.checkpoint import read_header
from fwplab.training.record import Member, Record
from fwplab.training.run import Run
from fwplab.training.spec import from_dict, to_dict
from fwplab.training.trainer import RESUME

MOST_STATES = 64
LIVE_SECONDS = 60
"""How long after its state was last saved a run counts as being trained."""


@show_user_errors
def page() -> None:
    """Shows the page."""
    st.title("Runs")
    language, mixer = choose_cell()
    records, bad = cell_records(language, mixer)
    show_left_out(bad)
    _training(language, mixer)
    if not records:
        show(
            f"No run of {mixer} on {language} is finished. In a terminal: "
            f"fwplab train --language {language} --mixer {mixer} --seeds 3",
            "information",
        )
        return
    _verdict(language, mixer)
    _table(records)
    _curves(records)
    _difference(records)


def _verdict(language: str, mixer: str) -> None:
    """Shows the result of the study irie2023 and the paper's claim."""
    for row in cell_rows(language, mixer):
        low, high = (percent(end) for end in row.interval)
        claim = f"the paper says it {row.claim}: {row.verdict}" if row.claim else "the paper makes no claim"
        show(
            f"Study irie2023, {row.model}, {row.rule} rule: {row.solved} of {row.seeds} seeds solve {language} "
            f"(95 % interval {low}-{high} %); {claim}."
        )


def _table(records: list[Record]) -> None:
    st.subheader("Finished")
    rows = [
        {
            "run": record.run.key,
            "seed": member.seed,
            "status": member.status,
            "steps": member.steps,
            "of at most": record.run.protocol.max_steps,
            "rule": record.run.protocol.selection,
            **{split: _share(record, member, split) for split in ("bin0", "bin1")},
            "layers": record.run.model.layers,
            "hidden": record.run.model.hidden,
            "heads": record.run.model.heads,
            "rate": member.learning_rate,
            "seconds": round(record.seconds),
        }
        for record in records
        for member in record.members
    ]
    st.dataframe(rows, hide_index=True)


def _share(record: Record, member: Member, split: str) -> str:
    score = member.score(record.run.protocol.selection, split)
    return percent(score.accuracy) if score else "-"


def _curves(records: list[Record]) -> None:
    st.subheader("Learning curves")
    members = {
        f"{record.run.key} seed {member.seed}": member
        for record in records
        for member in record.members
        if member.checks
    }
    chosen = st.multiselect("seeds", list(members), default=list(members)[:5])
    loss = st.toggle("loss instead of accuracy")
    values = [
        {"step": check.step, "bin": name, "value": (100 if not loss else 1) * value, "member": label}
        for label in chosen
        for check in members[label].checks
        for name, value in (
            (("Bin0", check.bin0_loss), ("Bin1", check.bin1_loss))
            if loss
            else (("Bin0", check.bin0_accuracy), ("Bin1", check.bin1_accuracy))
        )
    ]
    st.altair_chart(_chart(values, "mean loss of a position" if loss else "correct strings (%)", loss=loss))


def _chart(values: list[dict[str, object]], title: str, *, loss: bool) -> altair.Chart:
    scale = altair.Scale(type="symlog", constant=1e-3) if loss else altair.Scale(domain=[0, 100])
    chart: altair.Chart = (
        altair.Chart(altair.Data(values=values))  # type: ignore[no-untyped-call]
        .mark_line()
        .encode(
            x=altair.X("step:Q", title="training step"),
            y=altair.Y("value:Q", title=title, scale=scale),
            color=altair.Color("member:N", title="seed"),
            strokeDash=altair.StrokeDash("bin:N", title=""),
            tooltip=["member:N", "bin:N", "step:Q", altair.Tooltip("value:Q", format=".4g")],
        )
        .properties(height=320)
    )
    return chart


def _difference(records: list[Record]) -> None:
    st.subheader("Two recipes")
    known = {record.run.key: record.run for record in records} | specs()
    keys = list(known)

    def describe(key: str) -> str:
        run = known[key]
        return f"{run.mixer_name} on {run.language}, seeds {', '.join(map(str, run.seeds))} ({key})"

    left, right = st.columns(2)
    one = left.selectbox("this run", keys, format_func=describe)
    other = right.selectbox("that run", keys, index=min(1, len(keys) - 1), format_func=describe)
    texts = [json.dumps(to_dict(known[key]), indent=1).splitlines() for key in (one, other)]
    lines = difflib.unified_diff(texts[0], texts[1], describe(one), describe(other), lineterm="", n=1)
    st.code("\n".join(lines) or "the same spec", language="diff")


@st.fragment(run_every="2s")
@show_user_errors
def _training(language: str, mixer: str) -> None:
    """Shows the runs that are being trained, from the states that workers save every few seconds."""
    for path in sorted((home() / "runs").glob(f"*/{RESUME}")):
        try:
            facts = path.stat()
            if time.time() - facts.st_mtime > LIVE_SECONDS:
                continue
            run, step, values = _state(path, facts.st_mtime_ns, facts.st_size)
        except FileNotFoundError:  # removed in the meantime
            continue
        except UserError as error:
            show(error, "warning")
            continue
        if (run.language, run.mixer_name) == (language, mixer) and step < run.protocol.max_steps:
            show(f"training: run {run.key}, step {step:,} of {run.protocol.max_steps:,}")
            st.progress(step / run.protocol.max_steps)
            if values:
                st.altair_chart(_chart(values, "correct strings (%)", loss=False))


@for_all_sessions(MOST_STATES)
def _state(path: Path, changed: int, size: int) -> tuple[Run, int, list[dict[str, object]]]:
    """The run, the step and the learning curves in the state of a training. `changed` and `size` are the file's."""
    header = read_header(path)
    run = from_dict(Run, header["run"])
    try:
        values: list[dict[str, object]] = [
            {
                "step": int(check["step"]),
                "bin": name,
                "value": 100 * float(check[field]),
                "member": f"seed {int(member['seed'])}",
            }
            for member in header["members"]
            for check in member["checks"]
            for name, field in (("Bin0", "bin0_accuracy"), ("Bin1", "bin1_accuracy"))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no state of a training ({type(error).__name__}: {error})") from error
    return run, header["step"], values
