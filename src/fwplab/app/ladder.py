"""A heat map of the solved seeds of every language and mixer. A click on a cell opens its runs."""

from collections.abc import Sequence

import streamlit as st

from fwplab.app.shared import RULES, go, show_left_out, show_user_errors, study_records, table_rows
from fwplab.app.text import code, show
from fwplab.studies.irie2023 import LANGUAGES, MODELS
from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row
from fwplab.tables.statistics import spread
from fwplab.training.run import Rule

PARTS = {"irie2023": False, "irie2023 --quick": True}


@show_user_errors
def page() -> None:
    """Shows the page."""
    st.title("What can a sequence model compute?")
    left, right = st.columns(2)
    part = left.selectbox("study", list(PARTS))
    rule: Rule = right.selectbox(
        "selection rule", RULES, help="The rule that selects a member's checkpoint; strict uses no longer strings."
    )
    show_left_out(study_records(PARTS[part])[1])
    rows = _best_rows(table_rows(PARTS[part], rule))
    if not rows:
        show(f"No run of this study is finished yet. First, in a terminal: fwplab study run {part}", "information")
        return
    st.caption(
        "A cell shows the number of seeds whose selected checkpoint reaches 100 % on Bin0 (lengths of training) and on "
        "Bin1 (longer strings), of all seeds. Below it are the median accuracy on Bin1 in percent and, in brackets, "
        "that of the better of two guesses. A string counts as correct if all its labels are. A cell with several "
        "recipes shows the one that solves most seeds, and names its start. A click opens the runs."
    )
    st.html(f"<style>{''.join(_style(row) for row in rows.values())}</style>")
    widths = [1.1, *[1.0] * len(MODELS)]
    for place, name in zip(st.columns(widths, gap="small"), ("language", *MODELS), strict=True):
        place.markdown(f"**{name}**")
    for language in LANGUAGES:
        columns = st.columns(widths, gap="small", vertical_alignment="center")
        columns[0].markdown(f"**{language}**")
        for mixer, column in zip(MODELS, columns[1:], strict=True):
            with column:
                _cell(rows.get((language, mixer)), language, mixer)


def _best_rows(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """For each language and mixer the row that solves the largest share of seeds, of equal rows the first."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        cell = row.language, row.mixer
        if cell not in best or row.solved / row.seeds > best[cell].solved / best[cell].seeds:
            best[cell] = row
    return best


def _cell(row: Row | None, language: str, mixer: str) -> None:
    text = "not run"
    if row:
        text = f"**{row.solved}/{row.seeds}**  \n{percent(spread(row.bin1).median)} ({percent(row.chance_bin1)})"
        text += f"  \n{code(row.start)}" if row.start else ""
    if st.button(text, key=_name(language, mixer), width="stretch", disabled=row is None):
        st.session_state["language"], st.session_state["mixer"] = language, mixer
        go("runs")


def _name(language: str, mixer: str) -> str:
    return f"cell-{language}-{mixer}"


def _style(row: Row) -> str:
    """The colour of a cell, darker for more solved seeds; Streamlit derives the CSS class from the button's key."""
    share = row.solved / row.seeds
    name = _name(row.language, row.mixer)
    return f".st-key-{name} button {{ background: rgb(0 114 178 / {0.75 * share:.2f}); }}"
