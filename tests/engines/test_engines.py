"""The engines: records and their order, errors in workers, and workers that die."""

import importlib
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.storage.test_store import RUN, record_of
from tests.training.test_trainer import small_run

from fwplab.cli import run as command
from fwplab.engines import Engine, Local, engine_named, plan, train_all
from fwplab.engines.engine import Task
from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.storage.store import Store, folder_of
from fwplab.training.record import Progress, Record
from fwplab.training.run import Run
from fwplab.training.trainer import RESUME

RUNS = [replace(RUN, learning_rates=(rate,)) for rate in (1e-3, 2e-3, 3e-3)]


def trained(runs: Sequence[Run], store: Store, engine: Engine, **options: Any) -> list[Record]:
    """Trains the runs and returns their records in order."""
    train_all(runs, store, engine, **options)
    found = [store.load(run.key) for run in runs]
    return [record for record in found if record is not None]


def count_start(folder: Path) -> int:
    """Counts the starts of a task in its folder, including this one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"began-{len(list(folder.iterdir()))}").touch()
    return len(list(folder.iterdir()))


def returns_at_once(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    count_start(folder)
    if observe:
        observe(Progress(run.key, 1, 1, ()))
    return record_of(run)


def dies_once(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    if count_start(folder) == 1 and run == RUNS[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return record_of(run)


def dies_always(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def fails(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    raise ZeroDivisionError("the reason")


def is_wrong(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    raise UserError("choose from: this, that")


@pytest.mark.parametrize(
    ("task", "workers", "message"),
    [
        (dies_always, 2, r"its worker died 3 times, last with exit code -9; the same command goes on where .* stopped"),
        (fails, 2, r"failed:\nTraceback [\s\S]* in fails\n[\s\S]*\nZeroDivisionError: the reason\n"),
        (fails, 1, r"failed:\nTraceback [\s\S]* in fails\n[\s\S]*\nZeroDivisionError: the reason\n"),
    ],
)
def test_the_command_prints_the_error_of_a_task_without_the_driver_s_traceback(
    task: Task, workers: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fwplab.engines.train_all", partial(train_all, task=task))
    words = ["train", "--language", "parity", "--mixer", "srwm", "--seeds", "2", "--workers", str(workers)]
    assert command(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(rf"fwplab: srwm on parity \(run \w+\) .*{message}\n", captured.err), captured.err


@pytest.mark.parametrize("workers", [1, 2])
def test_each_missing_run_is_trained_once(workers: int) -> None:
    reports: list[Progress] = []
    with Store() as store:
        store.save(record_of(RUNS[2]))
        found = trained([*RUNS, RUNS[0]], store, Local(workers), observe=reports.append, task=returns_at_once)
        again = trained(RUNS, store, Local(workers), task=fails)
    assert [record.run for record in found] == [*RUNS, RUNS[0]]
    assert again == found[:3]
    assert sorted(progress.key for progress in reports) == sorted(run.key for run in RUNS[:2])


def test_a_dead_worker_is_replaced(home: Path) -> None:
    with Store() as store:
        found = trained(RUNS, store, Local(2), task=dies_once)
    assert [record.run for record in found] == RUNS
    assert len(list((home / "runs" / RUNS[1].key).iterdir())) == 2


def test_three_deaths_during_one_run_are_an_error() -> None:
    with Store() as store, pytest.raises(RuntimeError, match=r"srwm on parity .* died 3 times, last with exit code -9"):
        train_all(RUNS, store, Local(2), task=dies_always)


def test_errors_of_workers_are_raised_in_the_driver() -> None:
    with Store() as store:
        with pytest.raises(RuntimeError, match="ZeroDivisionError: the reason"):
            train_all(RUNS, store, Local(2), task=fails)
        with pytest.raises(UserError, match="choose from: this, that"):
            train_all(RUNS, store, Local(2), task=is_wrong)
        with pytest.raises(UserError, match="workers must be"):
            Local(0)


def test_training_gives_the_same_results_in_one_process_and_in_two(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [small_run(seeds=(0,)), small_run(MIXERS.own_names()[0], seeds=(1,))]
    with Store() as store:
        here = trained(runs, store, Local(1))
    monkeypatch.setenv("FWPLAB_HOME", str(home.parent / "other"))
    with Store() as store:
        there = trained(runs, store, Local(2))
    assert [record.members for record in here] == [record.members for record in there]
    assert not list((home / "runs").glob("*/resume.safetensors"))


def test_plan_splits_the_seeds_into_groups_and_keeps_the_missing_ones() -> None:
    with Store() as store:
        assert [run.seeds for run in plan(RUN, store, 2)] == [(0, 2), (1, 3)]
        assert [run.seeds for run in plan(RUN, store, 1)] == [RUN.seeds]
        store.save(record_of(replace(RUN, seeds=(1, 2))))
        assert [run.seeds for run in plan(RUN, store, 8)] == [(0,), (3,)]
        assert [run.seeds for run in plan(RUN, store, 3)] == [(0, 3)]
        store.save(record_of(RUN))
        assert plan(RUN, store, 2) == []


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5])
def test_the_groups_do_not_depend_on_which_runs_are_finished(groups: int) -> None:
    run = replace(RUN, seeds=tuple(range(5)))
    with Store() as store:
        planned = plan(run, store, groups)
        for index, finished in enumerate(planned):
            store.save(record_of(finished))
            assert plan(run, store, groups) == planned[index + 1 :]


def test_a_run_with_a_saved_state_keeps_its_groups() -> None:
    run = replace(RUN, seeds=tuple(range(5)))
    with Store() as store:
        begun = plan(run, store, 2)
        folder_of(begun[1]).mkdir(parents=True)
        (folder_of(begun[1]) / RESUME).touch()
        assert plan(run, store, 3) == begun
        assert plan(run, store, 1) == begun


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster at 127.0.0.1:9: .*Connection refused"),
        ("ray://127.0.0.1:9", "no Ray cluster at ray://127.0.0.1:9: .*Connection refused"),
        ("nowhere", "choose host:port, ray://host:port, or auto"),
    ],
)
def test_a_missing_cluster_is_a_user_error_at_once(address: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with Store() as store:
        with pytest.raises(UserError, match=message):
            train_all(RUNS, store, engine_named("ray", address=address), task=returns_at_once)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=message):
            train_all(RUNS, store, engine_named("ray", address="auto"), task=returns_at_once)
    assert time.monotonic() - began < 30


def test_only_ray_shares_gpus() -> None:
    with pytest.raises(UserError, match="choose --engine ray for --gpus-a-run"):
        engine_named("local", gpus_a_run=0.5)
    for share in (-0.25, 1.5, math.nan):
        with pytest.raises(UserError, match="from 0 to 1"):
            engine_named("ray", gpus_a_run=share)
    words = ["study", "run", "irie2023", "--languages", "dyck_1", "--mixers", "lstm"]
    assert command([*words, "--gpus-a-run", "0.5"]) == 2


@pytest.mark.parametrize(("module", "package"), [("fwplab.engines.ray", "ray"), ("fwplab.recipes.search", "optuna")])
def test_a_missing_extra_is_named(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(UserError, match=r"install it: pip install 'fwplab\["):
        importlib.import_module(module)
