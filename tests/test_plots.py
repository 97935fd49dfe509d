"""Figures by themselves: what the drawn lines say, what cannot be drawn, and the files that `fwplab plot` writes."""

import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from matplotlib.axes import Axes
from tests.test_report import RECORDS, record_of

from fwplab.cli import run as command
from fwplab.cli.plot import FIGURES, MECHANISMS
from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.plots import LOOKS, accuracy_by_length, learning_curves, look, steps_to_solve
from fwplab.plots.style import STYLE, looks
from fwplab.record import Check, Member, Record, Score, SplitSummary, Status
from fwplab.run import Run
from fwplab.store import Store
from fwplab.studies import STUDIES
from fwplab.studies.robustness import Robustness

PARITY = Run("parity", MIXERS.load("srwm")(), (0, 1, 2, 3), (3e-3,))


def member(seed: int, status: Status, steps: int, rate: float = 3e-3, *, solved: bool = False) -> Member:
    """A member that was looked at every fifty steps, and at its last, if at all, was right in both bins."""
    seen = range(50, steps + 1, 50)
    checks = tuple(Check(n, 0.1, 0.1, 1.0, 0.1, 1.0 if solved and n == steps else 0.5) for n in seen)
    return Member(seed, rate, status, steps, checks, {}, (Score("paper", "bin0", 2, 50, 60, 60),))


def record(run: Run, *members: Member) -> Record:
    """A record of these members."""
    seeds = tuple(each.seed for each in members)
    return Record(replace(run, seeds=seeds), members, 17_000, 512, (), (), {}, 1.0)


def places(axes: Axes, marker: str) -> list[tuple[float, float]]:
    """Where a panel has this marker."""
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == marker]


def test_a_line_falls_where_seeds_solve_and_says_how_the_others_ended() -> None:
    ends = member(0, "solved", 100, solved=True), member(1, "diverged", 150), member(2, "solved", 200, solved=True)
    (axes,) = steps_to_solve([record(PARITY, *ends, member(3, "budget", 5_000))]).axes
    (line,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(line.get_xdata())[1:] == [100, 200, 5_000]
    assert list(line.get_ydata()) == [100, 75, 50, 50]  # what diverged is not taken out of the count
    assert line.get_color() == look("srwm").colour
    assert places(axes, look("srwm").marker) == [(100, 75), (200, 50)]
    assert places(axes, "x") == [(150, 75)]
    assert places(axes, "|") == [(5_000, 50)]
    assert axes.get_title(loc="left") == "parity"


def test_a_seed_that_another_rule_stopped_is_watched_no_longer() -> None:
    stopped, solved = member(0, "solved", 100), member(1, "solved", 200, solved=True)
    (axes,) = steps_to_solve([record(PARITY, stopped, solved)]).axes
    assert places(axes, "|") == [(100, 100)]
    assert places(axes, look("srwm").marker) == [(200, 0)]


def test_a_study_says_what_its_panels_and_lines_are() -> None:
    runs = Robustness().runs(quick=False)
    records = [record(run, member(0, "solved", 100, run.rate_of(0), solved=True)) for run in runs]
    figure = steps_to_solve(records, Robustness().place)
    assert len(figure.axes) == 2 * 2 * 3
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(set(titles)) == len(titles)
    assert titles[1] == "recurrent-delta on parity\nstart: xavier"
    assert all(sum(line.get_drawstyle() == "steps-post" for line in axes.lines) == 3 for axes in figure.axes)
    (keys,) = figure.legends
    assert [text.get_text() for text in keys.get_texts()][:3] == ["rate 0.001", "rate 0.003", "rate 0.01"]
    with pytest.raises(UserError, match="differ in model"):  # one line of three starts says nothing
        steps_to_solve(records)


@pytest.mark.parametrize("draw", [learning_curves, lambda r: accuracy_by_length(r, "paper"), steps_to_solve])
def test_no_figure_merges_two_specs(draw) -> None:  # type: ignore[no-untyped-def]
    other = replace(RECORDS[0], run=replace(RECORDS[0].run, model=replace(RECORDS[0].run.model, hidden=64)))
    with pytest.raises(UserError, match="linear-transformer on parity differ in model"):
        draw([RECORDS[0], other])


def test_lengths_of_training_are_shaded_also_where_the_longest_has_no_string() -> None:
    found = record_of("lstm", "counter_3", (True,))
    figure = accuracy_by_length(
        [replace(found, splits=(SplitSummary("train", 3, 48, 9, 9, 9), *found.splits))], "paper"
    )
    shade = figure.axes[0].patches[0]
    edges = shade.get_patch_transform().transform_path(shade.get_path()).vertices[:, 0]
    assert (edges.min(), edges.max()) == (-0.5, 0.5)  # the window 2-50 and no other


def test_looks_are_a_mixers_own_or_differ() -> None:
    assert looks(["srwm", "lstm"]) == {"srwm": LOOKS["srwm"], "lstm": LOOKS["lstm"]}
    others = looks([f"rate {number}" for number in range(12)])
    assert len(set(others.values())) == 12


def test_a_legend_is_no_wider_than_its_figure() -> None:
    with matplotlib.rc_context(STYLE):
        figure = steps_to_solve([record_of(mixer, "parity", (True,)) for mixer in LOOKS])
        figure.canvas.draw()
    (keys,) = figure.legends
    assert 0.5 * figure.bbox.width < keys.get_window_extent().width <= figure.bbox.width


def test_every_study_names_figures_that_there_are() -> None:
    for name in STUDIES.names():
        assert set(STUDIES.load(name).figures) <= {*FIGURES, *MECHANISMS}


@pytest.fixture
def robustness() -> None:
    """A store with a few runs of the study."""
    with Store() as store:
        for run in Robustness().runs(quick=True)[:4]:
            rate = run.rate_of(0)
            store.save(record(run, member(0, "solved", 100, rate, solved=True), member(1, "budget", 1_000, rate)))


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
@pytest.mark.usefixtures("robustness")
def test_plot_writes_one_figure_as_the_suffix_says(
    suffix: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"steps.{suffix}"
    assert command(["plot", "robustness", "--quick", "--figure", "steps", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_bytes().startswith(start)


def test_plot_fills_a_folder_with_all_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = ["--languages", "parity", "--mixers", "srwm", "--seeds", "2"]
    assert command(["plot", *part, "--out", f"{tmp_path}/new/", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(dict.fromkeys(fact["figure"] for fact in facts)) == list(FIGURES)
    written = {str(path) for path in (tmp_path / "new").iterdir()}
    assert written == {fact["path"] for fact in facts}
    assert {Path(path).name for path in written} == {f"irie2023-{n}.{s}" for n in FIGURES for s in ("png", "svg")}


WRONG = {
    "figure": (["--figure", "pie", "--out", "a.svg"], "choose from: solved, lengths, curves, steps"),
    "suffix": (["--figure", "steps", "--out", "a.gif"], "choose a suffix from: .svg, .pdf, .png"),
    "one file": (["--out", "a.svg"], "--figure is missing"),
    "figure of the study": (["robustness", "--figure", "lengths"], "robustness has no figure 'lengths'"),
    "no figures": (["ablation"], "fwplab study show ablation"),
    "no records": (["robustness", "--quick"], "fwplab study run robustness --quick"),
    "study": (["irie2024"], "choose from: ablation, freezing, irie2023"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_plotted_is_one_line_and_no_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words, named = WRONG[case]
    assert command(["plot", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert named in said.err
    assert list(Path().iterdir()) == []
