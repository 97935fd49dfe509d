"""The search for recipes: shared trials, recovery after kills, and no seed or split in common with reported runs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from tests.storage.test_store import RUN, outcomes_in_four_processes, record_of

from fwplab.cli import run as command
from fwplab.mixers.srwm import SRWM
from fwplab.recipes.leftovers import PROCESS, RETRIES
from fwplab.recipes.recipe import Recipe, recipe
from fwplab.recipes.search import FIRST_SEED, SPLIT_SEED, Search, open_search, trials_of, value, work
from fwplab.recipes.space import Space
from fwplab.storage.store import folder_of
from fwplab.studies.irie2023 import LANGUAGES, MODELS
from fwplab.training import trainer
from fwplab.training.record import Check, Progress
from fwplab.training.spec import from_dict
from fwplab.training.trainer import train

SPACE = Space(hidden=(8,), layers=(1,), head_width=(4, 8), learning_rate=(1e-3, 1e-2), batch_size=(32,))
SEARCH = Search("aa_star", "recurrent-delta", SPACE, strings=640, members=1, checks=4)

FEW = ["--hidden", "8", "--layers", "1", "--head-width", "4", "8", "--batch-size", "32", "--strings", "640"]


def test_a_search_continues_its_trials_and_writes_the_best_as_a_recipe(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["search", "--language", "aa_star", "--mixer", "recurrent_delta", *FEW, "--members", "1", "--json"]
    assert command([*words, "--trials", "2", "--workers", "1"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert command([*words, "--trials", "4", "--workers", "2", "--write-recipe", str(tmp_path / "r.json")]) == 0
    second = json.loads(capsys.readouterr().out)
    assert first["search"] == second["search"]
    assert len(second["trials"]) >= 4
    assert all(trial in second["trials"] for trial in first["trials"])
    values = [trial["value"] for trial in second["trials"] if trial["value"] is not None]
    assert values == sorted(values, reverse=True)
    assert second["best"]["value"] == values[0]
    written = from_dict(Recipe, json.loads((tmp_path / "r.json").read_text()))
    assert written.learning_rate == second["best"]["parameters"]["learning_rate"]
    assert written.model.hidden // written.model.heads == second["best"]["parameters"]["head_width"]
    search = written.found_by.search
    assert search is not None
    assert (search.name, search.value, search.seeds) == (second["search"], values[0], 1)
    assert search.space == SPACE
    assert search.ended == len(values)
    assert written.run((0,)).key


def test_searches_share_no_seed_and_no_split_with_a_table() -> None:
    run = SEARCH.run(optuna.trial.FixedTrial(PARAMETERS))
    reported = [recipe(language, model).run((0, 1, 2, 3, 4)) for language in LANGUAGES for model in MODELS]
    assert min(run.seeds) >= FIRST_SEED > max(max(each.seeds) for each in reported)
    assert run.protocol.splits.seed == SPLIT_SEED
    assert SPLIT_SEED not in {each.protocol.splits.seed for each in reported}


PARAMETERS = {"hidden": 8, "head_width": 4, "batch_size": 32, "layers": 1, "learning_rate": 3e-3, "schedule": "cosine"}


def test_every_trial_trains_on_the_same_number_of_strings() -> None:
    for batch in (32, 64):
        wide = replace(SEARCH, space=replace(SPACE, batch_size=(32, 64)))
        protocol = wide.run(optuna.trial.FixedTrial({**PARAMETERS, "batch_size": batch})).protocol
        assert protocol.max_steps * protocol.batch_size == SEARCH.strings


def test_the_value_of_a_trial_is_the_mean_of_its_members() -> None:
    checks = (Check(1, 0.1, 0.5, 0.8, 0.5, 0.2), Check(2, 0.1, 0.3, 0.6, 0.5, 0.6))
    member = replace(record_of(RUN).members[0], checks=checks)
    diverged = replace(member, checks=())
    record = replace(record_of(RUN), members=(member, diverged))
    assert value(SEARCH, record) == pytest.approx((0.6 + 0.0) / 2)
    assert value(replace(SEARCH, objective="strict"), record) == pytest.approx((-0.3 - 10) / 2)


def test_another_space_is_another_search() -> None:
    names = {SEARCH.name, replace(SEARCH, strings=64).name, replace(SEARCH, space=Space()).name}
    assert len(names) == 3
    assert SEARCH.name == replace(SEARCH).name


RECORDED = ("counter_2/delta-net", "counter_2/recurrent-delta", "counter_3/recurrent-delta")
"""Cells whose searches have names of the current form. The names of older searches included default values."""


@pytest.mark.parametrize("cell", RECORDED)
def test_the_space_in_a_recipe_s_history_gives_the_name_of_its_search(cell: str) -> None:
    search = recipe(*cell.split("/")).found_by.search
    assert search is not None
    again = Search(
        *cell.split("/"),
        search.space,
        strings=search.strings,
        members=search.seeds,
        objective=search.objective,
        check_every=search.check_every,
    )
    assert again.name == search.name


def test_schedule_switches_and_evaluation_interval_are_searched_and_recorded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["search", "--language", "aa_star", "--mixer", "srwm", *FEW, "--members", "1", "--trials", "2"]
    chosen = ["--schedule", "constant", "--switch", "rate-bias=-1,-4", "normalised_input=true", "--check-every", "7"]
    assert command([*words, "--workers", "1", *chosen, "--json", "--write-recipe", str(tmp_path / "r.json")]) == 0
    best = json.loads(capsys.readouterr().out)["best"]["parameters"]
    written = from_dict(Recipe, json.loads((tmp_path / "r.json").read_text()))
    assert isinstance(written.mixer, SRWM)
    assert written.mixer.rate_bias == best["rate_bias"] in (-1, -4)
    assert written.mixer.normalised_input is best["normalised_input"] is True
    assert (written.schedule, written.check_every) == (best["schedule"], 7) == ("constant", 7)
    assert written.found_by.search is not None
    assert written.found_by.search.check_every == 7
    run = Search("aa_star", "srwm", SPACE, check_every=7).run(optuna.trial.FixedTrial(PARAMETERS))
    assert run.protocol.check_every == 7


def test_the_number_of_pruning_points_does_not_depend_on_the_evaluation_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "REPORT_EVERY_SECONDS", 0.0)
    search = replace(SEARCH, check_every=1)
    work(search, 1)
    with open_search(search) as study:
        (trial,) = study.trials
    assert list(trial.intermediate_values) == [1, 2, 3, 4]


def test_the_value_of_a_trial_on_several_languages_is_that_of_the_worst() -> None:
    search = replace(SEARCH, also=("parity", "counter_2"), over_seeds="median", pruner="hyperband", members=3)
    assert search.name != SEARCH.name
    work(search, 1)
    with open_search(search) as study:
        (trial,) = study.trials
        found = search.recipe(study).found_by.search
        runs = search.runs(trial)
    assert [run.language for run in runs] == ["aa_star", "parity", "counter_2"]
    assert len({replace(run, language="parity") for run in runs}) == 1
    records = [train(run) for run in runs]
    assert trial.value == min(value(search, record) for record in records)
    best = [max((c.bin0_accuracy + c.bin1_accuracy) / 2 for c in member.checks) for member in records[0].members]
    assert value(search, records[0]) == sorted(best)[1]
    losses = [sorted(member.checks[-1].bin0_loss for member in record.members)[1] for record in records]
    assert trial.intermediate_values[search.checks] == pytest.approx(-max(losses))
    assert found is not None
    assert "the worst language counts: aa_star, parity, counter_2" in found.lines()
    assert "(hyperband)" in found.lines()[1]


KILLED_SCRIPT = """
import fwplab.recipes.search as search
from tests.recipes.test_search import SEARCH
search.HEARTBEAT_SECONDS = 1
if __name__ == "__main__":
    search.work(SEARCH, 3, observe=lambda p: print(p.step, flush=True))
"""


@pytest.mark.parametrize("same_machine", [True, False], ids=["same machine", "other machine"])
def test_a_killed_trial_is_repeated(
    same_machine: bool, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same machine at once. On another machine only after its heartbeat has stopped for long enough."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED_SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    monkeypatch.setattr("fwplab.recipes.search.HEARTBEAT_SECONDS", 1)
    with open_search(SEARCH) as study:
        (dead,) = study.trials
        if not same_machine:
            study._storage.set_trial_user_attr(dead._trial_id, PROCESS, "00000000-1-1")
            time.sleep(3)
    assert dead.state == optuna.trial.TrialState.RUNNING
    work(SEARCH, 3)
    with open_search(SEARCH) as study:
        trials, rows = study.trials, trials_of(study)
    assert [trial.state.name for trial in trials].count("FAIL") == 1
    again = [trial for trial in trials if trial.params == dead.params and trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(again) == 1
    assert len(rows) == 4
    assert not list((home / "runs").glob(f"*/{trainer.RESUME}"))


def test_a_trial_that_always_kills_its_process_is_abandoned(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED_SCRIPT.replace("lambda p: print(p.step, flush=True)", "lambda p: os.kill(os.getpid(), 9)"))
    script.write_text("import os\n" + script.read_text())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(RETRIES + 1):
        assert subprocess.run([sys.executable, str(script)], check=False, env=environment).returncode == -signal.SIGKILL
    work(SEARCH, 1)
    with open_search(SEARCH) as study:
        choices = [tuple(trial.params.items()) for trial in study.trials]
        assert [trial.state.name for trial in study.trials] == ["FAIL"] * (RETRIES + 1) + ["COMPLETE"]
    assert len(set(choices[:-1])) == 1
    assert choices[-1] != choices[0]


def test_saved_states_are_removed_for_ended_trials_only(home: Path) -> None:
    work(SEARCH, 2)
    with open_search(SEARCH) as study:
        ended = [SEARCH.run(optuna.trial.FixedTrial(trial.params)) for trial in study.trials]
        study.enqueue_trial(PARAMETERS)
    queued = SEARCH.run(optuna.trial.FixedTrial(PARAMETERS))
    for run in (*ended, queued):
        folder_of(run).mkdir(parents=True, exist_ok=True)
        (folder_of(run) / trainer.RESUME).touch()
    work(SEARCH, 2)
    assert list((home / "runs").glob(f"*/{trainer.RESUME}")) == [folder_of(queued) / trainer.RESUME]


def test_an_interrupted_trial_is_continued_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "REPORT_EVERY_SECONDS", 0.0)
    steps: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.step == 10:  # the saved state has two evaluations, five steps apart
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(SEARCH, 1, observe=interrupt)
    work(SEARCH, 1, observe=lambda progress: steps.append(progress.step))
    with open_search(SEARCH) as study:
        interrupted, again = study.trials
    assert (interrupted.state.name, again.state.name) == ("FAIL", "COMPLETE")
    assert again.params == interrupted.params
    assert steps[0] == 11


def open_new(url: str) -> None:
    with open_search(SEARCH, url) as study:
        assert study.trials == []


def test_several_processes_open_a_new_search_at_the_same_time(tmp_path: Path) -> None:
    assert outcomes_in_four_processes(open_new, tmp_path) == {"opened"}


WRONG = {
    "storage": (["--storage", "foo"], "no database URL"),
    "no driver": (["--storage", "mysql://me:secret@127.0.0.1/x"], "mysql://me:***@127.0.0.1/x"),
    "no folder": (["--storage", "sqlite:////nonexistent/x.db"], "unable to open database file"),
    "no server": (["--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/x"], "me:***@127.0.0.1:1/x cannot be used"),
    "recipe": (["--write-recipe", "/"], "cannot write /: Is a directory"),
    "trials": (["--trials", "0"], "trials must be a positive"),
    "objective": (["--objective", "best"], "strict"),
    "space": (["--hidden", "0"], "positive whole numbers"),
    "heads": (["--head-width", "5"], "do not divide a width of 32"),
    "rates": (["--learning-rate", "0.1", "0.01"], "0 < lowest <= highest"),
    "workers": (["--workers", "0"], "workers must be"),
    "schedule": (["--schedule", "linear"], "constant"),
    "switch": (["--switch", "rate_bias"], "a switch is NAME=VALUE"),
    "no switch": (["--switch", "bias=1"], "rate_bias"),
    "value": (["--switch", "rate_bias=-1,often"], "rate_bias of SRWM is a number"),
    "evaluation interval": (["--check-every", "0"], "check_every must be a positive"),
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: tuple[list[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = arguments
    assert command(["search", "--language", "parity", "--mixer", "srwm", "--workers", "1", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert message in captured.err
    assert "secret" not in captured.err
