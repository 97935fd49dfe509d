"""Studies: their runs, which of them are unfinished, their recipes, and their tables from records alone."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest
from tests.storage.test_store import record_of

from fwplab.cli import run as command
from fwplab.cli.console import PLAIN_WIDTH
from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.mixers.fast_weight_program import PRESETS
from fwplab.recipes.history import Attempt, History, Searched
from fwplab.recipes.recipe import Recipe, recipe, write_recipe
from fwplab.recipes.space import Space
from fwplab.storage.store import Store, folder_of, restricted
from fwplab.studies import STUDIES
from fwplab.studies.ablation import Ablation, variations
from fwplab.studies.counting import Counting
from fwplab.studies.irie2023 import LANGUAGES as PAPER_LANGUAGES
from fwplab.studies.irie2023 import MODELS, Irie2023
from fwplab.studies.robustness import Robustness
from fwplab.studies.selection import Selection
from fwplab.studies.study import finished, unfinished
from fwplab.training.checkpoint import Checkpoint, checkpoint_path, save_checkpoint
from fwplab.training.record import Chance, Check, Record, Score, SplitSummary, merge
from fwplab.training.run import Run
from fwplab.training.spec import from_dict

CELLS = [(language, model) for language in PAPER_LANGUAGES for model in MODELS]


def record_with_accuracy(run: Run, right: int) -> Record:
    """A record of a run in which every member has `right` of 60 strings right in each bin."""
    record = record_of(run)
    scores = tuple(Score("paper", split, low, high, 60, right) for split, low, high in PARTS)
    splits = tuple(SplitSummary(split, low, high, 60, 60, 0) for split, low, high in PARTS)
    chances = tuple(Chance(split, low, high, 0.0, 0.1) for split, low, high in PARTS)
    members = tuple(replace(member, scores=scores) for member in record.members)
    return replace(record, members=members, splits=splits, chance=chances)


PARTS = (("bin0", 2, 50), ("bin1", 51, 100), ("test", 51, 100))


@pytest.mark.parametrize("name", STUDIES.own_names())
def test_a_study_has_distinct_runs_with_several_seeds(name: str) -> None:
    study = STUDIES.load(name)()
    assert study.title
    assert study.question.strip().endswith("?")
    for quick in (True, False):
        runs = study.runs(quick=quick)
        assert len({run.key for run in runs}) == len(runs)
        assert all(len(run.seeds) >= 3 for run in runs)
        assert {run.seeds for run in study.runs(quick=quick, seeds=2)} == {(0, 1)}


@pytest.mark.parametrize(("language", "model"), CELLS)
def test_every_cell_has_a_recipe_for_a_valid_run(language: str, model: str) -> None:
    found = recipe(language, model)
    run = found.run((0, 1))
    assert (run.language, run.mixer_name, run.seeds) == (language, model, (0, 1))
    assert (run.protocol.stop, run.protocol.oracle) == ("every_rule", True)
    assert run.protocol.max_steps == found.max_steps
    assert run.build(0).parameter_count() > 0
    assert found.found_by.summary(language)


def test_models_of_one_language_train_equally_long() -> None:
    """Otherwise a failure could be due to shorter training. The number of strings is equal within a factor of two."""
    for language in PAPER_LANGUAGES:
        strings = {model: recipe(language, model).max_steps * recipe(language, model).batch_size for model in MODELS}
        assert max(strings.values()) <= 2 * min(strings.values()), (language, strings)


SPACE = Space(hidden=(8,), head_width=(4,), switches={"rate_bias": (-2.0, -4.0)})
SEARCHED = Searched("parity/srwm/0123456789ab", 5, 1, 2, 640, 0.9876, "paper", SPACE, 50, 1_000, 1_000, "hand")
TRIED = Attempt("a wider one", "no better", search="parity/srwm/ba9876543210", trials=1, value=0.5)
HISTORY = History(SEARCHED, ("trained here for 7 steps",), (TRIED, Attempt("by hand", "nothing is learned")))


def test_a_history_has_a_summary_of_one_line_and_all_details() -> None:
    line = "search parity/srwm/0123456789ab: 5 trials, value 0.9876 (paper); 2 more tried"
    assert HISTORY.summary("parity") == line
    assert HISTORY.summary("dyck_1") == f"from parity: {line}"
    whole = "\n".join(HISTORY.lines())
    for fact in (
        "1 pruned",
        "2 seeds from 1000 on",
        "640 strings",
        "every 50 steps",
        "rate_bias: -2.0, -4.0",
        "by hand",
    ):
        assert fact in whole
    assert "tried: a wider one (search parity/srwm/ba9876543210, 1 trial, value 0.5000): no better" in whole
    assert History(notes=("the same for all",)).summary("parity") == "common: not searched"
    assert (
        History(by_hand=True, tried=(Attempt("wider ones", "no"),)).summary("parity") == "chosen by hand; 1 more tried"
    )


def test_every_shipped_recipe_has_a_history() -> None:
    """Searches have ids of 12 hexadecimal digits. Each attempt names what was tried and its outcome."""
    for language, model in CELLS:
        history = recipe(language, model).found_by
        assert history.notes
        assert all(each.tried and each.outcome for each in history.tried)
        ids = [each.search for each in history.tried if each.search] + ([history.search.name] if history.search else [])
        assert all(re.fullmatch(r"[a-z_0-9]+/[a-z-]+/[0-9a-f]{12}", one) for one in ids)
        assert len(f"- {model} on {language}: {history.summary(language)}") <= PLAIN_WIDTH


def test_a_recipe_is_unchanged_by_json_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    written = replace(recipe("parity", "srwm"), mixer=MIXERS.load("srwm")(rate_bias=-2.0), found_by=HISTORY)
    write_recipe(written, tmp_path / "srwm.json")
    assert from_dict(Recipe, json.loads((tmp_path / "srwm.json").read_text())) == written
    with pytest.raises(
        UserError, match="no recipe for softmax-attention on parity; make one: fwplab search --language parity"
    ):
        recipe("parity", "softmax-attention")


def test_a_row_that_was_not_reproduced_names_the_search_of_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    own = recipe("dyck_1", "srwm")
    run = own.run((0, 1, 2))
    tried = merge([record_with_accuracy(restricted(run, (seed,)), 20) for seed in run.seeds])
    study = Irie2023()
    assert [row.found_by for row in study.rows([tried])] == [own.found_by]
    assert f"- srwm on dyck_1: {own.found_by.summary('dyck_1')}" in study.notes(study.rows([tried]))
    assert study.notes(study.rows([record_with_accuracy(run, 60)])) == ""  # a reproduced claim has no note
    shorter = replace(run, protocol=replace(run.protocol, max_steps=7))
    assert [row.found_by for row in study.rows([record_with_accuracy(shorter, 20)])] == [None]

    with Store() as store:
        store.save(record_with_accuracy(run, 20))
    part = ["irie2023", "--own", "--languages", "dyck_1", "--mixers", "srwm", "--seeds", "3"]
    assert command(["study", "show", *part]) == 0
    assert (
        "Recipes of claims that were not reproduced in every seed (--searches prints the details):\n"
        "- srwm on dyck_1: search" in capsys.readouterr().out
    )
    assert command(["study", "show", *part, "--searches"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(" ".join(line.split()) in shown for line in own.found_by.lines())
    assert command(["study", "show", *part, "--json"]) == 0
    (fact,) = json.loads(capsys.readouterr().out)
    assert fact["found_by"] == own.found_by.summary("dyck_1")
    assert from_dict(History, fact["history"]) == own.found_by
    assert command(["study", "show", "robustness", "--searches", "--languages", "parity", "--mixers", "srwm"]) == 2
    assert "these rows of robustness have no recipes" in capsys.readouterr().err


def test_another_mixer_is_trained_by_the_common_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    """A new layer can be compared with the shipped records without training the other layers again."""
    study = Irie2023()
    added = study.runs_of(["lstm", "softmax-attention"], quick=False, seeds=2)
    assert [(run.language, run.mixer_name) for run in added] == [
        (language, mixer) for language in PAPER_LANGUAGES for mixer in ("lstm", "softmax-attention")
    ]
    for own, other in zip(added[::2], added[1::2], strict=True):
        common = recipe(own.language, study.template_mixer)
        assert common.found_by.summary(own.language).startswith("common")
        assert other == replace(common.run((0, 1)), mixer=MIXERS.load("softmax-attention")())
        assert other.protocol == own.protocol
    assert [run.mixer_name for run in study.runs_of(["softmax-attention"], quick=True)] == ["softmax-attention"] * 3
    assert Ablation().runs_of(["softmax-attention"], quick=True) == []

    other = next(run for run in study.runs_of(["softmax-attention"], quick=False, seeds=3) if run.language == "parity")
    with Store() as store:
        store.save(record_with_accuracy(other, 20))
    part = ["--languages", "parity", "--mixers", "softmax-attention", "srwm", "--seeds", "3", "--json"]
    assert command(["study", "show", "irie2023", *part]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["mixer"], row["seeds"], row["claim"]) for row in rows] == [
        ("srwm", 3, "solves"),  # from the shipped records
        ("softmax-attention", 3, ""),
    ]
    assert rows[1]["found_by"].startswith("common")
    assert command(["study", "status", "ablation", "--mixers", "srwm"]) == 2


def test_unfinished_runs_are_split_by_seed_except_on_a_gpu() -> None:
    runs = Irie2023().runs(quick=False)[:3]
    with Store() as own, Store("sqlite:///:memory:") as others:
        own.save(record_of(restricted(runs[0], (1, 3))))
        others.save(record_of(restricted(runs[0], (0, 3))))
        others.save(record_of(runs[1]))
        left = unfinished(runs, (own, others), whole=False)
        assert [(run.mixer_name, run.seeds) for run in left] == [
            *[(MODELS[2], (0,)), (MODELS[2], (1,)), (MODELS[0], (2,)), (MODELS[2], (2,))],
            *[(MODELS[2], (3,)), (MODELS[0], (4,)), (MODELS[2], (4,))],
        ]
        assert unfinished(runs, (own, others), whole=True) == [restricted(runs[0], (2, 4)), runs[2]]
        found = finished(runs, (own, others))
    assert [record.run.seeds for record in found] == [(0, 1, 3), (0, 1, 2, 3, 4)]
    assert [len(record.members) for record in found] == [3, 5]


def test_merging_records_adds_times_and_lists_every_environment() -> None:
    run = Irie2023().runs(quick=False)[0]
    one, two = record_of(restricted(run, (2,))), record_of(restricted(run, (0,)))
    merged = merge([one, replace(two, environment={"torch": "2.9", "chip": "x"})])
    assert merged.run.seeds == (0, 2)
    assert merged.seconds == 3.0
    assert merged.environment == {"torch": "2.13.0; 2.9", "chip": "x"}


def test_commands_read_records_without_training(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    solved, failed = (recipe("parity", model).run((0, 1, 2)) for model in ("recurrent-delta", "linear-transformer"))
    part = ["irie2023", "--languages", "parity", "--mixers", "recurrent-delta", "linear-transformer", "--seeds", "3"]
    with Store() as store:
        store.save(record_with_accuracy(solved, 60))
        store.save(record_with_accuracy(restricted(failed, (0,)), 20))

    assert command(["study", "show", *part, "--json"]) == 0
    rows = {row["mixer"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["recurrent-delta"]["solved"], rows["recurrent-delta"]["seeds"]) == (3, 3)
    assert rows["recurrent-delta"]["verdict"] == "reproduced"
    assert rows["linear-transformer"]["solved"] == 0
    assert rows["linear-transformer"]["language"] == "parity"

    assert command(["study", "status", *part, "--json"]) == 0
    status = {each["mixer"]: each for each in json.loads(capsys.readouterr().out)}
    assert (status["recurrent-delta"]["finished"], status["recurrent-delta"]["asked"]) == (3, 3)
    assert status["linear-transformer"]["finished"] >= 1
    assert command(["study", "status", *part]) == 0
    done, total = (sum(each[name] for each in status.values()) for name in ("finished", "asked"))
    assert f"{done} of {total} runs are finished, in " in capsys.readouterr().out

    for name, read in (("csv", pyarrow.csv.read_csv), ("parquet", pyarrow.parquet.read_table)):
        assert command(["study", "export", *part, "--format", name, "--out", str(tmp_path / name)]) == 0
        table = read(tmp_path / name).to_pylist()
        selected = [row for row in table if (row["mixer"], row["rule"]) == ("recurrent-delta", "paper")]
        assert {row["accuracy"] for row in selected} == {1.0}
        assert all(row["chance_symbolwise"] == 0.1 for row in table if row["mixer"] == "recurrent-delta")
    assert command(["study", "export", *part, "--format", "latex", "--out", str(tmp_path / "table.tex")]) == 0
    latex = (tmp_path / "table.tex").read_text()
    assert latex.count(r"\midrule") == 1
    assert r"recurrent-delta & 3 of 3 & 100.0\enspace 100.0 &" in latex
    capsys.readouterr()


def test_exported_records_can_be_shown_elsewhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recipe("aa_star", "srwm").run((0, 1, 2, 3, 4, 5, 6))  # two more seeds than the shipped records
    with Store() as store:
        store.save(record_with_accuracy(run, 60))
    name = checkpoint_path(folder_of(run), 3, "paper")
    save_checkpoint(Checkpoint(run, 3, "paper", 60, run.build(3).state_dict()), name)
    part = ["irie2023", "--languages", "aa_star", "--mixers", "srwm", "--seeds", "7"]
    export = ["study", "export", *part, "--format", "records", "--checkpoints", "--out", str(tmp_path / "records")]
    assert command(export) == 0
    (copied,) = (tmp_path / "records" / "checkpoints").iterdir()
    assert (copied.name, copied.read_bytes()) == (f"{run.key}-{name.name}", name.read_bytes())
    from fwplab.storage.archive import open_archive

    with open_archive(tmp_path / "records") as found:
        assert [member.seed for record in found.records() for member in record.members] == list(range(7))
    capsys.readouterr()


def test_own_leaves_out_the_shipped_records(capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe("aa_star", "srwm").run((3,))
    with Store() as store:
        store.save(record_with_accuracy(run, 60))
    part = ["irie2023", "--languages", "aa_star", "--mixers", "srwm", "--json"]
    finished = {}
    for flags in ((), ("--own",)):
        assert command(["study", "status", *part, *flags]) == 0
        (cell,) = json.loads(capsys.readouterr().out)
        finished[flags] = cell["finished"]
    assert finished == {(): 5, ("--own",): 1}
    assert command(["study", "show", *part, "--own", "--seeds", "3"]) == 2  # only the shipped records have these seeds
    assert "first: fwplab study run irie2023" in capsys.readouterr().err


WRONG = {
    "study": (["study", "show", "irie2024"], f"choose from: {', '.join(STUDIES.names())}"),
    "rule": (["study", "show", "irie2023", "--rule", "best"], "oracle"),
    "nothing": (["study", "show", "irie2023", "--quick"], "first: fwplab study run irie2023 --quick"),
    "language": (["study", "status", "irie2023", "--languages", "dyck_7"], "dyck_1"),
    "seeds": (["study", "run", "irie2023", "--seeds", "0"], "from 1 to 10,000, not 0"),
    "engine": (["study", "run", "irie2023", "--engine", "spark"], "choose from: local, ray"),
    "address": (["study", "run", "irie2023", "--address", "auto"], "--engine ray"),
    "report": (["report", "scaling"], "has no report; choose from: "),
    "reproduce": (["reproduce", "ablation", "--quick"], "has no report; choose from: "),
    "unmeasured rule": (["study", "show", "scaling", "--rule", "oracle"], "choose from: paper, strict"),
    "format": (["study", "export", "irie2023", "--format", "xls", "--out", "x"], "csv, parquet, latex, records"),
    "out": (["study", "export", "irie2023"], "--out is missing"),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: tuple[list[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = arguments
    assert command(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert message in captured.err


def test_selection_compares_all_rules_on_the_same_runs() -> None:
    run = recipe("parity", "srwm").run((0, 1))
    right = {"paper": (60, 30), "strict": (40, 20), "last": (10, 10), "oracle": (20, 45)}
    scores = tuple(
        Score(rule, split, low, high, 60, {"bin0": 60, "bin1": bin1, "test": test if high > 50 else 60}[split])
        for rule, (bin1, test) in right.items()
        for split, low, high in (*PARTS, ("test", 2, 50), ("test", 101, 200))
    )
    record = record_with_accuracy(run, 0)
    splits = (*record.splits, SplitSummary("test", 2, 50, 60, 60, 0), SplitSummary("test", 101, 200, 60, 60, 0))
    # The strict rule stops at the second evaluation (40 of 60). Without its stop, it would choose the third (44 of 60).
    accuracies = [(0.9, 0.3, 0.5), (1.0, 0.2, 40 / 60), (1.0, 0.1, 44 / 60), (1.0, 0.15, 27 / 60)]
    checks = tuple(Check(50 * n, 0.1, loss, bin0, 0.1, bin1) for n, (bin0, loss, bin1) in enumerate(accuracies, 1))
    chosen = {"paper": 200, "strict": 100, "last": 100, "oracle": 50}
    members = tuple(replace(m, scores=scores, checks=checks, selected=chosen) for m in record.members)
    (cell,) = Selection().rows([replace(record, members=members, splits=splits)])
    (fact,) = Selection().facts([cell])
    assert {rule: fact[rule]["to_the_end"] for rule in ("strict", "last")} == {"strict": 44 / 60, "last": 27 / 60}
    assert {rule: fact[rule]["read_at"] for rule in right} == chosen
    assert cell.split_gains() == [(pytest.approx(4 / 60), pytest.approx(16 / 60))] * 2
    assert Selection().notes([cell]) == (
        "2 of 2 seeds differ on Bin1 by more than a point between the paper's rule and the strict one: by +33.3 "
        "(median, points); +6.7 because the strict rule ends the training, +26.7 because it chooses among the "
        "evaluations without Bin1."
    )
    assert {rule: fact[rule]["unseen"] for rule in right} == {rule: test / 60 for rule, (_, test) in right.items()}
    assert {rule: fact[rule]["longer"] for rule in right} == {rule: bin1 / 60 for rule, (bin1, _) in right.items()}
    assert [fact[rule]["solved"] for rule in right] == [2, 0, 0, 0]
    assert (fact["gain_paper"], fact["gain_oracle"]) == (pytest.approx(10 / 60), pytest.approx(25 / 60))
    assert fact["chance"] == 0.1


def test_robustness_counts_unsolved_and_diverged_seeds() -> None:
    run = Robustness().runs(quick=False)[4]
    run = restricted(run, (0, 1, 2, 3))
    checks = [Check(50 * n, 0.1, 0.1, 1.0, 0.1, 1.0 if n == 3 else 0.5) for n in (1, 2, 3)]
    unsolved = [replace(check, bin1_accuracy=0.5) for check in checks]
    ends = [("solved", checks), ("solved", checks[2:]), ("budget", unsolved), ("diverged", unsolved[:1])]
    members = tuple(
        replace(member, status=status, checks=tuple(seen), steps=seen[-1].step)  # type: ignore[arg-type]
        for member, (status, seen) in zip(record_with_accuracy(run, 30).members, ends, strict=True)
    )
    (cell,) = Robustness().rows([replace(record_with_accuracy(run, 30), members=members)])
    (fact,) = Robustness().facts([cell])
    assert (fact["solved"], fact["diverged"], fact["diverged_at"]) == (2, 1, (50,))
    assert fact["steps_until"] == {"0.25": 150, "0.5": 150, "0.75": None}
    assert (fact["mixer"], fact["initialisation"], fact["learning_rate"]) == ("recurrent-delta", "xavier", 3e-3)
    assert fact["longer"] == 0.5


def test_ablations_have_unique_names_and_include_the_models_of_the_paper() -> None:
    every = variations()
    assert len(set(every.values())) == len(every)
    assert list(every)[:4] == list(PRESETS)
    runs = dict(zip(every, Ablation().runs(quick=True), strict=True))
    chosen = [restricted(runs[name], (0,)) for name in ("recurrent-delta", "srwm, value alone")]
    cells = Ablation().rows([record_with_accuracy(chosen[0], 60), record_with_accuracy(chosen[1], 20)])
    facts = Ablation().facts(cells)
    assert [(fact["variation"], fact["solved"], fact["language"]) for fact in facts] == [
        ("recurrent-delta", 1, "parity"),
        ("srwm, value alone", 0, "parity"),
    ]
    assert Ablation().render(cells).row_count == 2


def test_an_ablation_shows_the_range_of_its_seeds() -> None:
    run = dict(zip(variations(), Ablation().runs(quick=True), strict=True))["rate: fixed"]
    right = (60, 20, 59)
    members = [record_with_accuracy(restricted(run, (seed,)), of).members[0] for seed, of in enumerate(right)]
    table = Ablation().render(Ablation().rows([replace(record_with_accuracy(run, 60), members=tuple(members))]))
    assert list(table.columns[1].cells) == ["1 of 3  98 (33-100)"]
    assert str(table.caption).endswith("95 % Wilson intervals of the share of seeds, percent: 1 of 3: 6-79.")
    equal = Ablation().render(Ablation().rows([record_with_accuracy(run, 60)]))
    assert list(equal.columns[1].cells) == ["3 of 3  100"]


def test_reset_dyck_1_is_trained_with_one_layer_as_in_the_paper() -> None:
    assert {recipe("reset_dyck_1", model).model.layers for model in MODELS} == {1}


def test_an_added_mixer_is_trained_by_its_own_recipe_if_there_is_one() -> None:
    runs = {run.language: run for run in Irie2023().runs_of(["split-delta-net"], quick=False, seeds=2)}
    assert runs["reset_dyck_1"] == recipe("reset_dyck_1", "split-delta-net").run((0, 1))
    template = recipe("parity", Irie2023.template_mixer).run((0, 1))
    assert runs["parity"] == replace(template, mixer=runs["parity"].mixer)


def test_the_counting_study_uses_the_recipes_of_split_delta_net() -> None:
    runs = [run for run in Counting().runs(quick=False) if run.mixer_name == "split-delta-net"]
    assert runs == [recipe(run.language, "split-delta-net").run(run.seeds) for run in runs]
    assert len(runs) == 5
