"""Exports: one row for every member, rule and split, named cells, measurements, and LaTeX tables."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest
from rich.table import Table
from rich.text import Text
from tests.storage.test_store import record_of

from fwplab.cli import run as command
from fwplab.recipes.recipe import recipe
from fwplab.storage.store import Store, restricted
from fwplab.studies.ablation import Ablation, variations
from fwplab.studies.robustness import Robustness
from fwplab.tables.export import PAGE, to_latex
from fwplab.training.record import Chance, Measurement, Record, Score, SplitSummary
from fwplab.training.run import Run

READERS = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}
PARTS = (("bin0", 2, 50), ("bin1", 51, 100), ("test", 51, 100))
STRINGS = 60_000
CELL = ["--languages", "parity", "--mixers", "srwm", "--seeds", "3"]


def record_with_scores(run: Run, right: int, *, diverged: tuple[int, ...] = ()) -> Record:
    """A record with `right` right strings under every rule. Diverged members ended before their first evaluation."""
    record = record_of(run)
    scores = tuple(Score(rule, *part, STRINGS, right) for rule in run.protocol.rules for part in PARTS)
    members = tuple(
        replace(member, scores=scores, selected=dict.fromkeys(run.protocol.rules, 50))
        if member.seed not in diverged
        else replace(member, status="diverged", steps=7, checks=(), scores=(), selected={})
        for member in record.members
    )
    splits = tuple(SplitSummary(*part, STRINGS, STRINGS, 0) for part in (("train", 2, 50), *PARTS))
    return replace(record, members=members, splits=splits, chance=tuple(Chance(*part, 0.0, 0.1) for part in PARTS))


def exported(path: Path, *words: str, form: str = "csv") -> list[dict[str, Any]]:
    """Exports with the command line and reads the rows of the file."""
    assert command(["study", "export", *words, "--format", form, "--out", str(path)]) == 0
    rows: list[dict[str, Any]] = READERS[form](path).to_pylist()
    return rows


def latex(path: Path, *words: str) -> str:
    assert command(["study", "export", *words, "--format", "latex", "--out", str(path)]) == 0
    return path.read_text()


def ablation_run() -> Run:
    """A run of three seeds of one variation. It is of the quick part, which has no shipped records."""
    return dict(zip(variations(), Ablation().runs(quick=True), strict=True))["keys: none"]


@pytest.mark.parametrize("form", READERS)
def test_a_member_without_a_checkpoint_has_rows_with_0_right(form: str, tmp_path: Path) -> None:
    run = ablation_run()
    with Store() as store:
        store.save(record_with_scores(run, 40, diverged=(1,)))
    rows = exported(tmp_path / form, "ablation", "--quick", form=form)
    expected = {(rule, *part) for rule in ("paper", "strict", "last") for part in PARTS}
    for seed in run.seeds:
        of_seed = [row for row in rows if row["seed"] == seed]
        assert {(row["rule"], row["split"], row["shortest"], row["longest"]) for row in of_seed} == expected
        assert len(of_seed) == len(expected)
        assert {(row["correct"], row["strings"]) for row in of_seed} == {(0 if seed == 1 else 40, STRINGS)}
        end = ("diverged", None) if seed == 1 else ("solved", 50)
        assert {(row["status"], row["selected_step"]) for row in of_seed} == {end}


def test_a_row_names_its_cell_and_its_run(tmp_path: Path) -> None:
    run = ablation_run()
    with Store() as store:
        store.save(record_with_scores(run, 40))
    (row, *_) = exported(tmp_path / "csv", "ablation", "--quick")
    assert (row["study"], row["panel"], row["line"]) == ("ablation", "parity", "keys: none")
    assert (row["run"], row["learning_rate"], row["initialisation"]) == (run.key, 3e-3, "own")
    assert (row["parameters"], row["max_steps"], row["solved_at"]) == (17_000, 1_000, None)
    parquet = exported(tmp_path / "parquet", "ablation", "--quick", form="parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "parquet").field("solved_at").type == pyarrow.int64()
    assert parquet[0] == row


def test_one_rule_can_be_exported_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store() as store:
        store.save(record_with_scores(ablation_run(), 40))
    assert {row["rule"] for row in exported(tmp_path / "csv", "ablation", "--quick", "--rule", "strict")} == {"strict"}
    for rule, form, message in (("oracle", "csv", "paper, strict, last"), ("last", "records", "csv, parquet or latex")):
        words = ["--format", form, "--rule", rule, "--out", str(tmp_path / "none")]
        assert command(["study", "export", "ablation", "--quick", *words]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "none").exists()


def store_measurements(study: str, length: int, values: dict[str, float]) -> None:
    """Stores three seeds of a cell of the paper's table, the first two with measurements at this length."""
    run = recipe("parity", "srwm").run((0, 1, 2))
    with Store() as store:
        store.save(record_with_scores(run, 40))
        for seed in (0, 1):
            found = [Measurement(study, "paper", length, name, value) for name, value in values.items()]
            store.measure(run.key, seed, found)


SCALING = {"strings": 100.0, "correct": 99.0, "chance": 0.0, "norm": 2.0, "first_error": 20.0}


@pytest.mark.parametrize("form", READERS)
def test_a_study_with_measurements_exports_them(form: str, tmp_path: Path) -> None:
    store_measurements("scaling", 100, SCALING)
    rows = exported(tmp_path / form, "scaling", *CELL, "--rule", "paper", form=form)
    assert {row["study"] for row in rows} == {"scaling"}
    for seed in (0, 1):
        assert {r["name"]: r["value"] for r in rows if (r["seed"], r["length"]) == (seed, 100)} == SCALING
    (unmeasured,) = [row for row in rows if row["seed"] == 2]
    assert not unmeasured["name"]
    assert (unmeasured["length"], unmeasured["value"], unmeasured["line"]) == (None, None, "srwm")
    assert {row["rule"] for row in exported(tmp_path / form, "scaling", *CELL, form=form)} == {"paper", "strict"}


@pytest.mark.parametrize("form", [*READERS, "latex"])
def test_an_empty_study_is_refused(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_measurements("spectrum", 0, {"refused": 1.0})
    for words, message in (
        (["scaling", *CELL, "--rule", "last"], "choose from: paper, strict"),
        (["spectrum", *CELL], "its table: fwplab study show spectrum"),
    ):
        assert command(["study", "export", *words, "--format", form, "--out", str(tmp_path / "none")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "none").exists()


def test_latex_never_rounds_up_to_100_and_has_the_verdict(tmp_path: Path) -> None:
    with Store() as store:
        store.save(record_with_scores(recipe("parity", "srwm").run((0, 1, 2)), STRINGS - 1))
    text = latex(tmp_path / "tex", "irie2023", *CELL)
    assert text.startswith("% \\usepackage{booktabs}\n")
    assert r"srwm & 0 of 3 & 99.9\enspace 99.9 & 99.9\enspace 99.9 &" in text
    assert r"& not reproduced \\" in text
    assert r"& claim: solves \\" in text
    assert r"0.0--56.1" in text
    assert "Selection rule: paper." in text
    assert "Wilson" in text


def test_latex_of_robustness_has_no_printed_dictionary(tmp_path: Path) -> None:
    run = restricted(Robustness().runs(quick=True)[0], (0, 1, 2))
    with Store() as store:
        store.save(record_with_scores(run, 40))
    text = latex(tmp_path / "tex", "robustness", "--quick")
    assert r"\{" not in text
    assert r"0 of 3 (0--56) & --, --, -- &" in text
    assert r"95 \% Wilson" in text


def test_latex_of_scaling_has_accuracies_and_positions_from_1(tmp_path: Path) -> None:
    store_measurements("scaling", 100, SCALING)
    text = latex(tmp_path / "tex", "scaling", *CELL)
    assert r"\textbf{parity\enspace rule: paper}" in text
    assert r"srwm & 99 & -- & -- & -- & -- & -- & 100 & 21 & 2 &" in text
    assert r"2 & 55--99 &  &  &  &  &  &  & 2 of 2 &" in text


@pytest.mark.parametrize(
    ("study", "values", "row"),
    [
        ("freezing", {"free": 0.97, "guess": 0.5}, "srwm & 97 &"),
        ("spectrum", {"0/negative": 0.5, "0/lowest": -0.28, "0/largest": 1.0}, "srwm & 0 & 50 & $-$0.28 & 1.00"),
    ],
)
def test_latex_of_a_mechanism_study_has_its_values(
    study: str, values: dict[str, float], row: str, tmp_path: Path
) -> None:
    store_measurements(study, 0, values)
    assert row in latex(tmp_path / "tex", study, *CELL)


def test_cells_of_several_lines_and_sections_become_rows() -> None:
    table = Table("model\nseeds", "all")
    table.add_row("[bold]parity[/bold]")
    table.add_row(Text("srwm\n3"), "1 [dim]x[/dim]")
    table.add_row("a", "[")
    table.add_section()
    table.add_row("b\n2", "c")
    body = to_latex(table, "x").splitlines()[4:-2]
    assert body == [
        r"\toprule",
        r"model &  \\*",
        r"seeds & all \\",
        r"\midrule",
        r"\multicolumn{2}{l}{\textbf{parity}} \\*",
        r"srwm & 1 x \\*",
        r"3 &  \\",
        r"\addlinespace",
        r"a & {[} \\",
        r"\midrule",
        r"b & c \\*",
        r"2 &  \\",
        r"\bottomrule",
    ]


def test_a_table_longer_than_a_page_becomes_a_longtable() -> None:
    table = Table("model", "all")
    for number in range(PAGE):
        table.add_row(f"m{number}", "1")
    assert r"\begin{table}" in to_latex(table, "x")
    table.add_row("last", "1")
    lines = to_latex(table, "x").splitlines()
    head = [r"\toprule", r"model & all \\", r"\midrule"]
    assert lines[:3] == [r"% \usepackage{booktabs,longtable}", r"\begin{longtable}{ll}", r"\caption{x} \\"]
    assert lines[3:13] == [*head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot"]
    assert lines[13] == r"m0 & 1 \\"
    assert lines[-2:] == [r"last & 1 \\", r"\end{longtable}"]
