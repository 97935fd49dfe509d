"""The mechanism studies: each checkpoint is measured once, results are summarised over seeds, and figures are drawn."""

import json
from dataclasses import replace

import pytest

from fwplab.cli import run as command
from fwplab.data.splits import SplitSpec
from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.model.model import ModelSpec
from fwplab.studies import STUDIES
from fwplab.studies._mechanism import Mechanism, MechanismRow
from fwplab.studies.freezing import Freezing
from fwplab.studies.patching import Patching
from fwplab.studies.probing import Probing, best_place
from fwplab.studies.spectrum import Spectrum
from fwplab.tables.statistics import spread
from fwplab.training.run import PROTOCOLS, Run

SPLITS = SplitSpec(train_strings=200, validation_strings=20, test_strings=5)
PROTOCOL = replace(PROTOCOLS["paper"], max_steps=20, check_every=20, splits=SPLITS)


def small_run(mixer: str) -> Run:
    return Run("parity", MIXERS.load(mixer)(), (0, 1), (5e-3, 5e-3), ModelSpec(hidden=8, layers=1, heads=2), PROTOCOL)


MECHANISMS = [name for name in STUDIES.own_names() if issubclass(STUDIES.load(name), Mechanism)]


def test_the_catalogue_has_the_mechanism_studies() -> None:
    assert {"probing", "patching", "spectrum", "freezing"} <= set(MECHANISMS)


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_is_a_study_with_its_figure(name: str) -> None:
    study = STUDIES.load(name)()
    assert isinstance(study, Mechanism)
    assert list(study.figures()) == [name]
    with pytest.raises(UserError, match="nothing is measured yet"):
        study.figures()[name]([], "paper")


def test_checkpoints_are_measured_once_and_summarised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    runs = [small_run("srwm"), small_run("transformer")]
    monkeypatch.setattr(Mechanism, "runs", lambda self, *, quick, seeds=None: runs)
    assert command(["study", "run", "freezing", "--measure-only", "--workers", "1"]) == 2
    assert "no run of this study is finished" in capsys.readouterr().err
    for _ in range(2):
        assert command(["study", "run", "freezing", "--workers", "1", "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)  # the state of a Transformer cannot be frozen, so it has no row
        assert (row["mixer"], row["seeds"], row["solved"], row["rule"]) == ("srwm", 2, 0, "paper")
        names = {(each["name"], each["length"]) for each in row["values"]}
        assert {("frozen", 0), ("frozen", 30), ("held W_q", 0), ("guess", 0)} <= names
        monkeypatch.setattr(Freezing, "measure", None)  # a second measurement would fail
    assert command(["plot", "freezing", "--out", f"{tmp_path}/a.svg"]) == 0


def test_measure_only_of_a_study_without_measurements_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["study", "run", "robustness", "--measure-only"]) == 2
    measuring = ", ".join(name for name, kind in STUDIES.classes() if kind.measures)
    assert f"choose from: {measuring}\n" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["plot", "freezing", "--out", "a.svg"], ["study", "show", "spectrum"]])
def test_a_rule_whose_checkpoints_are_not_measured_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command([*words, "--rule", "strict"]) == 2
    assert "no checkpoints of the strict rule; choose from: paper" in capsys.readouterr().err


def cell(values: dict[tuple[int, str], list[float]], mixer: str = "srwm") -> MechanismRow:
    return MechanismRow(mixer, "parity", "paper", 2, 1, {which: spread(found) for which, found in values.items()})


def test_tables_and_figures_show_the_measurements() -> None:
    ends = (10, 25, 50, 100)
    probed = cell(
        {(end, f"state/layer {n}/output/{kind}"): [share * n, share * n] for end in ends for n in (1, 2)
         for kind, share in (("right", 0.5), ("control", 0.2), ("untrained", 0.3))}
        | {(end, "state/guess"): [0.4] for end in ends}
    )  # fmt: skip
    assert best_place(probed, "state") == "state/layer 2/output"
    assert Probing().texts(probed)[-1] == "100 [dim]40 60 40[/dim]"
    patches = {"all": (1.0, 0.0), "layer 1": (0.0, 1.0), "layer 2": (1.0, 0.9), "layer 2 head 1": (0.2, 1.0)}
    moved = cell(
        {(cut, f"{place}/{kind}"): [share] for cut in (5, 10, 20, 30) for place, shares in patches.items()
         for kind, share in zip(("moved", "kept"), shares, strict=True)}
    )  # fmt: skip
    assert [text.split("\n") for text in Patching().texts(moved)][:2] == [
        ["layer 1", "layer 2", "layer 2 head 1"],
        ["0", "100", "20"],
    ]
    assert Patching().texts(moved)[-1] == "100\n90\n100"
    turned = cell(
        {(3, "1/share"): [0.25], (20, "1/share"): [0.75], (0, "1/negative"): [1.0], (0, "1/lowest"): [-1.0]}
        | {(0, "1/largest"): [1.0]}
    )
    assert Spectrum().texts(turned) == ["1", "100", "-1.00", "1.00"]
    drawn = {study.name: study.draw([each]) for study, each in ((Probing(), probed), (Patching(), moved))}
    strips = Spectrum().draw([turned]).axes[0].patches
    assert [round(strip.get_x() + strip.get_width() / 2, 1) for strip in strips] == [-1.0, 0.7]
    (panel,) = drawn["patching"].axes
    assert {text.get_text(): round(text.get_position()[0]) for text in panel.texts} == {"1": 0, "2": 100}
    (panel,) = drawn["probing"].axes
    assert {round(line.get_xdata()[0]) for line in panel.lines if line.get_marker() == "|"} == {40}
