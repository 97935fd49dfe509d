"""Figures: the values of the drawn lines, errors, and the files that `fwplab plot` writes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from matplotlib.axes import Axes
from tests.report.test_report import RECORDS, record_of

from fwplab.cli import run as command
from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.plots import LINE_STYLES, accuracy_by_length, learning_curves, line_style, steps_to_solve
from fwplab.plots.style import STYLE, line_styles
from fwplab.storage.store import Store
from fwplab.studies import STUDIES
from fwplab.studies._scaling_curves import scaling_curves
from fwplab.studies.irie2023 import LANGUAGES, Irie2023
from fwplab.studies.robustness import Robustness
from fwplab.studies.scaling import Scaling
from fwplab.tables.statistics import seeds_interval
from fwplab.training.record import Check, Measurement, Member, Record, Score, SplitSummary, Status
from fwplab.training.run import Run

PARITY = Run("parity", MIXERS.load("srwm")(), (0, 1, 2, 3), (3e-3,))


def member(seed: int, status: Status, steps: int, rate: float = 3e-3, *, solved: bool = False) -> Member:
    """A member evaluated every fifty steps. If it is solved, its last evaluation is at 100 % in both bins."""
    seen = range(50, steps + 1, 50)
    checks = tuple(Check(n, 0.1, 0.1, 1.0, 0.1, 1.0 if solved and n == steps else 0.5) for n in seen)
    return Member(seed, rate, status, steps, checks, {}, (Score("paper", "bin0", 2, 50, 60, 60),))


def record(run: Run, *members: Member) -> Record:
    """A record of these members."""
    seeds = tuple(each.seed for each in members)
    return Record(replace(run, seeds=seeds), members, 17_000, 512, (), (), {}, 1.0)


def marker_positions(axes: Axes, marker: str) -> list[tuple[float, float]]:
    """The positions of this marker in a panel."""
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == marker]


def test_steps_to_solve_falls_at_each_solved_seed_and_marks_how_the_others_ended() -> None:
    ends = member(0, "solved", 100, solved=True), member(1, "diverged", 150), member(2, "solved", 200, solved=True)
    (axes,) = steps_to_solve([record(PARITY, *ends, member(3, "budget", 5_000))]).axes
    (line,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(line.get_xdata())[1:] == [100, 200, 5_000]
    assert list(line.get_ydata()) == [100, 75, 50, 50]  # diverged seeds still count in the denominator
    assert line.get_color() == line_style("srwm").colour
    assert marker_positions(axes, line_style("srwm").marker) == [(100, 75), (200, 50)]
    assert marker_positions(axes, "x") == [(150, 75)]
    assert marker_positions(axes, "|") == [(5_000, 50)]
    assert axes.get_title(loc="left") == "parity"


def test_a_seed_that_another_rule_stopped_is_censored() -> None:
    stopped, solved = member(0, "solved", 100), member(1, "solved", 200, solved=True)
    (axes,) = steps_to_solve([record(PARITY, stopped, solved)]).axes
    assert marker_positions(axes, "|") == [(100, 100)]
    assert marker_positions(axes, line_style("srwm").marker) == [(200, 0)]


def test_a_study_names_its_panels_and_lines() -> None:
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
    with pytest.raises(UserError, match="differ in model"):  # one line must not mix three initialisations
        steps_to_solve(records)


@pytest.mark.parametrize(
    "draw",
    [learning_curves, lambda r: accuracy_by_length(r, "paper"), steps_to_solve],
    ids=["learning curves", "accuracy by length", "steps to solve"],
)
def test_no_figure_merges_two_specs(draw) -> None:  # type: ignore[no-untyped-def]
    other = replace(RECORDS[0], run=replace(RECORDS[0].run, model=replace(RECORDS[0].run.model, hidden=64)))
    with pytest.raises(UserError, match="linear-transformer on parity differ in model"):
        draw([RECORDS[0], other])


def test_training_lengths_are_shaded_even_if_the_longest_has_no_string() -> None:
    found = record_of("lstm", "counter_3", (True,))
    figure = accuracy_by_length(
        [replace(found, splits=(SplitSummary("train", 3, 48, 9, 9, 9), *found.splits))], "paper"
    )
    shade = figure.axes[0].patches[0]
    edges = shade.get_patch_transform().transform_path(shade.get_path()).vertices[:, 0]
    assert (edges.min(), edges.max()) == (-0.5, 0.5)  # only the window 2-50


def record_over_lengths(run: Run, right: dict[int, tuple[int, int]], **state: tuple[float, float]) -> Record:
    """A record of two seeds. `right` has the right strings of 100 for each length; `state` has other measurements."""
    members = [
        replace(
            member(seed, "solved", 100, solved=True),
            measured=tuple(
                Measurement("scaling", "paper", length, name, value)
                for length, each in right.items()
                for name, value in {"strings": 100, "correct": each[seed], "chance": 0.25}.items()
            )
            + tuple(Measurement("scaling", "paper", n, name, s[seed]) for n in right for name, s in state.items()),
        )
        for seed in (0, 1)
    ]
    return record(run, *members)


def test_scaling_draws_the_mean_with_its_interval_and_the_state_below() -> None:
    right = {100: (100, 100), 1_000: (100, 40), 10_000: (10, 0)}
    lstm = Run("parity", MIXERS.load("lstm")(), (0, 1), (3e-3,))
    cells = Scaling().rows([record_over_lengths(lstm, right, norm=(20, 40), saturation=(0.4, 0.6))])
    accuracy, norm, saturation = panels = scaling_curves(cells).axes
    (guess, line), (norms,), (shares,) = ([x for x in axes.lines if len(x.get_xdata()) > 1] for axes in panels)
    assert list(guess.get_ydata()) == [25, 25, 25]
    assert list(line.get_ydata()) == [100, 70, 5]
    bars = [[tuple(bar[:, 1]) for bar in axes.collections[0].get_segments()] for axes in (accuracy, norm, saturation)]
    intervals = [seeds_interval(each, [100, 100]) for each in right.values()]
    assert bars == [[pytest.approx((100 * low, 100 * high)) for low, high in intervals], [(20, 40)] * 3, [(40, 60)] * 3]
    assert (list(norms.get_xdata()), list(norms.get_ydata())) == ([100, 1_000, 10_000], [30, 30, 30])
    assert list(shares.get_ydata()) == [50, 50, 50]
    for axes in (accuracy, norm, saturation):
        points = [line for line in axes.lines if line.get_marker() == line_style("lstm").marker]
        assert [point.get_markerfacecolor() == "none" for point in points] == [False, True, True]


def test_scaling_has_three_panels_a_language_and_marks_models_without_saturating_units() -> None:
    runs = [Run(language, MIXERS.load("srwm")(), (0, 1), (3e-3,)) for language in LANGUAGES[:5]]
    cells = Scaling().rows([record_over_lengths(run, {100: (100, 0)}, norm=(1, 10**n)) for n, run in enumerate(runs)])
    seen = [axes for axes in scaling_curves(cells).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in seen if axes.get_title(loc="left")] == list(LANGUAGES[:5])
    assert len(seen) == 3 * 5
    assert sum(text.get_text() == "no such units" for axes in seen for text in axes.texts) == 5
    assert len({axes.get_ylim() for axes in seen if axes.get_yscale() == "log"}) == 1
    with pytest.raises(UserError, match="nothing is measured yet"):
        scaling_curves([])


def test_scaling_draws_an_overflowed_state_as_a_bar_beyond_the_panel() -> None:
    srwm, lstm = PARITY, Run("parity", MIXERS.load("lstm")(), (0, 1), (3e-3,))
    overflowed = record_over_lengths(srwm, {100: (100, 0)}, norm=(20, math.nan))
    cells = Scaling().rows([overflowed, record_over_lengths(lstm, {100: (100, 0)}, norm=(10, 30), saturation=(0, 1))])
    _, norm, _ = scaling_curves(cells).axes
    ((bar,), (other,)) = (bars.get_segments() for bars in norm.collections)
    lowest, highest = norm.get_ylim()
    assert lowest < other[0, 1] < other[1, 1] < highest
    assert bar[0, 1] == 20
    assert highest < bar[1, 1] < math.inf
    (_, norm, _) = scaling_curves(
        Scaling().rows([record_over_lengths(srwm, {100: (0, 0)}, norm=(math.nan, math.nan))])
    ).axes
    assert math.inf > norm.get_ylim()[1] > norm.get_ylim()[0] > 0  # also if all states overflowed


def test_mixers_have_their_own_styles_and_other_lines_differ() -> None:
    assert line_styles(["srwm", "lstm"]) == {"srwm": LINE_STYLES["srwm"], "lstm": LINE_STYLES["lstm"]}
    others = line_styles([f"rate {number}" for number in range(12)])
    assert len(set(others.values())) == 12


def test_a_legend_is_no_wider_than_its_figure() -> None:
    with matplotlib.rc_context(STYLE):
        figure = steps_to_solve([record_of(mixer, "parity", (True,)) for mixer in LINE_STYLES])
        figure.canvas.draw()
    (keys,) = figure.legends
    assert 0.5 * figure.bbox.width < keys.get_window_extent().width <= figure.bbox.width


@pytest.fixture
def robustness() -> None:
    """A store with a few runs of the study `robustness`."""
    with Store() as store:
        for run in Robustness().runs(quick=True)[:4]:
            rate = run.rate_of(0)
            store.save(record(run, member(0, "solved", 100, rate, solved=True), member(1, "budget", 1_000, rate)))


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
@pytest.mark.usefixtures("robustness")
def test_plot_writes_one_figure_in_the_format_of_the_suffix(
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
    figures = Irie2023().figures()
    assert list(dict.fromkeys(fact["figure"] for fact in facts)) == list(figures)
    written = {str(path) for path in (tmp_path / "new").iterdir()}
    assert written == {fact["path"] for fact in facts}
    assert {Path(path).name for path in written} == {f"irie2023-{n}.{s}" for n in figures for s in ("png", "svg")}


WRONG = {
    "figure": (["--figure", "pie", "--out", "a.svg"], "choose from: solved, lengths, curves, steps"),
    "suffix": (["--figure", "steps", "--out", "a.gif"], "choose a suffix from: .svg, .pdf, .png"),
    "one file": (["--out", "a.svg"], "--figure is missing"),
    "figure of the study": (["robustness", "--figure", "lengths"], "robustness has no figure 'lengths'"),
    "another study's figure": (["scaling", "--figure", "lengths"], "choose from: scaling, curves, steps"),
    "unmeasured rule": (["scaling", "--figure", "scaling", "--rule", "last", "--out", "a.svg"], "paper, strict"),
    "no figures": (["ablation"], "fwplab study show ablation"),
    "no records": (["robustness", "--quick"], "fwplab study run robustness --quick"),
    "study": (["irie2024"], f"(did you mean 'irie2023'?); choose from: {', '.join(STUDIES.names())}"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_plot_request_is_one_line_and_writes_no_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words, message = WRONG[case]
    assert command(["plot", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert list(Path().iterdir()) == []
