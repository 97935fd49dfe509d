"""Workers and drivers are killed: no finished run is lost or repeated, and the results have the same bits."""

import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.engines.test_engines import dies_always, fails, is_wrong, trained
from tests.storage.test_store import record_of
from tests.training.test_trainer import small_run, weights_of

from fwplab.engines import Local, TrainingError, engine_named, plan, train_all
from fwplab.engines.local import _WorkerPool
from fwplab.errors import UserError
from fwplab.storage.store import Store, folder_of, restricted
from fwplab.training import trainer
from fwplab.training.record import Member, Progress, Record
from fwplab.training.run import Run

RUNS = [small_run(name, seeds=(seed,)) for name in ("recurrent-delta", "e-lstm") for seed in (0, 1)]


def slowly(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    """`train` with a saved state at every evaluation and pauses for a kill. Writes its process id to the folder."""
    trainer.SAVE_EVERY_SECONDS = trainer.REPORT_EVERY_SECONDS = 0.0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"pid-{os.getpid()}").touch()

    def wait(progress: Progress) -> None:
        time.sleep(0.05)
        if observe:
            observe(progress)

    record = trainer.train(run, folder=folder, device=device, observe=wait)
    (folder / f"finished-{time.monotonic_ns()}").touch()
    return record


def dies_in_the_middle(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    """Like `slowly`, but the first process of a run kills itself after the first saved state."""

    def die(progress: Progress) -> None:
        if (folder / trainer.RESUME).exists() and len(list(folder.glob("pid-*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if observe:
            observe(progress)

    return slowly(run, folder=folder, device=device, observe=die)


def members(records: list[Record]) -> dict[str, tuple[Member, ...]]:
    return {record.run.key: record.members for record in records}


@pytest.fixture(scope="module")
def without_kills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Member, ...]]:
    """The members of the same runs without any kill."""
    with Store("sqlite:///:memory:") as store, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FWPLAB_HOME", str(tmp_path_factory.mktemp("without_kills")))
        return members(trained(RUNS, store, Local(1)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A running Ray cluster on this machine with two workers."""
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    settings = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_AUTH_MODE": "disabled"}
    port = 20_000 + os.getpid() % 20_000
    start = [*ray, "start", "--head", "--block", "--num-cpus=2", f"--port={port}", "--include-dashboard=false"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**settings, "PYTHONPATH": os.pathsep.join(sys.path)}.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONUNBUFFERED", "1")
        with subprocess.Popen([*start, "--disable-usage-stats"], stdout=subprocess.PIPE, text=True) as head:
            assert head.stdout is not None
            assert any("--block" in line for line in head.stdout)  # Ray prints this when the cluster is ready
            yield f"127.0.0.1:{port}"
            head.terminate()  # `ray stop` would also stop clusters of other tests


@pytest.fixture(params=["local", "ray"])
def engine_options(request: pytest.FixtureRequest) -> dict[str, str | int | None]:
    """The engines, each with two workers."""
    if request.param == "ray":
        return {"name": "ray", "address": request.getfixturevalue("cluster")}
    return {"name": "local", "workers": 2}


def test_a_worker_killed_during_a_run_changes_no_result(
    engine_options: dict[str, str], without_kills: dict[str, tuple[Member, ...]]
) -> None:
    reports: list[Progress] = []
    with Store() as store:
        found = trained(RUNS, store, engine_named(**engine_options), observe=reports.append, task=dies_in_the_middle)
    assert members(found) == without_kills
    assert {progress.key for progress in reports} == set(without_kills)
    for run in RUNS:
        assert len(list(folder_of(run).glob("pid-*"))) == 2
        assert len(list(folder_of(run).glob("finished-*"))) == 1


def returns_at_once(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"pid-{os.getpid()}").touch()
    return record_of(run)


def test_the_result_of_a_worker_killed_after_it_was_sent_is_used() -> None:
    """The result is in the pipe while the driver is busy, between two runs and after the last."""
    pool, found = _WorkerPool(1, "cpu", None, returns_at_once), []
    for record in pool.work(RUNS):
        found.append(record.run)
        for pipe, worker in pool.workers.items():
            assert pipe.poll(60)
            worker.process.kill()
            worker.process.join()
    assert found == RUNS
    assert [len(list(folder_of(run).glob("pid-*"))) for run in RUNS] == [1] * len(RUNS)


DRIVER = """
import json, sys
from tests.engines.test_kills import RUNS, slowly
from fwplab.engines import engine_named, train_all
from fwplab.storage.store import Store
if __name__ == "__main__":
    engine = engine_named(**json.loads(sys.argv[1]))
    with Store() as store:
        train_all(RUNS, store, engine, observe=lambda p: print(p.key, flush=True), task=slowly)
"""


def test_a_driver_killed_and_started_again_changes_no_result(
    engine_options: dict[str, str], without_kills: dict[str, tuple[Member, ...]], tmp_path: Path
) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    arguments = [sys.executable, str(script), json.dumps(engine_options)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    kills = 0
    while True:
        with Store() as store:
            there = {run.key: set(folder_of(run).glob("*-*")) for run in RUNS if store.has(run.key)}
        with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            lines = [line for _, line in zip(range(4), driver.stdout, strict=False)]
            if kills < 2:
                driver.kill()
                kills += len(lines) > 0
            elif driver.wait() == 0:
                break
        for run in RUNS:  # a driver does not train runs that are in the store when it starts
            if run.key in there:
                assert set(folder_of(run).glob("*-*")) == there[run.key]
    assert kills == 2
    with Store() as store:
        assert members(store.records()) == without_kills


def test_workers_end_with_their_driver(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    arguments = [sys.executable, str(script), json.dumps({"name": "local", "workers": 2})]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        driver.kill()
    workers = [int(path.name.removeprefix("pid-")) for run in RUNS for path in folder_of(run).glob("pid-*")]
    assert workers
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


GROUPS_SCRIPT = """
import os, signal, sys
from tests.engines.test_kills import THREE_SEEDS, slowly
from fwplab.engines import Local, plan, train_all
from fwplab.storage.store import Store, folder_of
from fwplab.training.trainer import RESUME
def killed(run, *, folder, device, observe):
    def observer(progress):
        with Store() as store:
            other = len(store.records()) == 1
        if other and (folder_of(run) / RESUME).exists() and progress.step < progress.max_steps:
            os.kill(os.getpid(), signal.SIGKILL)
    return slowly(run, folder=folder, device=device, observe=observer)
if __name__ == "__main__":
    with Store() as store:
        train_all(plan(THREE_SEEDS, store, 2), store, Local(1), task=killed)
"""
THREE_SEEDS = small_run("transformer")


@pytest.mark.parametrize("groups", [2, 1, 3])
def test_a_kill_between_two_groups_of_seeds_changes_no_bit(
    groups: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second start may have another number of workers, for which a new run would have other groups."""
    script = tmp_path / "driver.py"
    script.write_text(GROUPS_SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, str(script)], check=False, env=environment).returncode == -signal.SIGKILL
    assert len(list((home / "runs").glob(f"*/{trainer.RESUME}"))) == 1
    stray = home / "runs" / "stray" / trainer.RESUME  # left by a driver that was killed after the run had finished
    with Store() as store:
        (first,) = store.records()
        stray.parent.mkdir()
        trainer.Training(first.run, "cpu").save(stray)
        train_all(plan(THREE_SEEDS, store, groups), store, Local(1))
        resumed = members(store.records())
    weights = [weights_of(folder_of(run)) for run in GROUPS_OF_TWO]
    assert not list((home / "runs").glob(f"*/{trainer.RESUME}"))
    monkeypatch.setenv("FWPLAB_HOME", str(tmp_path / "other"))
    with Store() as store:
        train_all(plan(THREE_SEEDS, store, 2), store, Local(1))
        assert members(store.records()) == resumed
    for run, found in zip(GROUPS_OF_TWO, weights, strict=True):
        expected = weights_of(folder_of(run))
        assert found.keys() == expected.keys() != set()
        assert all(torch.equal(found[name], expected[name]) for name in found)


GROUPS_OF_TWO = [restricted(THREE_SEEDS, seeds) for seeds in ((0, 2), (1,))]
FULL_DISK = """
import resource, signal, sys
from tests.engines.test_kills import RUNS, slowly
from fwplab.engines import Local, train_all
from fwplab.errors import UserError
from fwplab.storage.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with Store() as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
        train_all(RUNS[:1], store, Local(1), task=slowly)
except UserError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("bytes_allowed", [20_000, 120_000])
def test_a_full_disk_is_one_line_and_loses_nothing(
    bytes_allowed: int, without_kills: dict[str, tuple[Member, ...]], tmp_path: Path
) -> None:
    """A file may have at most `bytes_allowed` bytes. That is too small for the saved state or for the store."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    script = tmp_path / "full.py"
    script.write_text(FULL_DISK)
    command = [sys.executable, str(script), str(bytes_allowed)]
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert (ended.returncode, len(ended.stdout.strip().splitlines())) == (2, 1), ended.stdout + ended.stderr
    assert not list(folder_of(RUNS[0]).glob(".*"))  # no partly written file is left
    with Store() as store:
        assert not store.has(RUNS[0].key)
        found = trained(RUNS[:1], store, Local(1))
        assert members(found) == {RUNS[0].key: without_kills[RUNS[0].key]}


def test_a_run_that_always_kills_its_worker_is_an_error(engine_options: dict[str, str]) -> None:
    with Store() as store, pytest.raises(RuntimeError, match="its worker died 3 times"):
        train_all(RUNS[:2], store, engine_named(**engine_options), task=dies_always)


def test_errors_of_a_worker_are_raised_in_the_driver(engine_options: dict[str, str]) -> None:
    with Store() as store:
        with pytest.raises(RuntimeError, match="ZeroDivisionError: the reason"):
            train_all(RUNS[:2], store, engine_named(**engine_options), task=fails)
        with pytest.raises(UserError, match="choose from: this, that"):
            train_all(RUNS[:2], store, engine_named(**engine_options), task=is_wrong)


class Foreign:
    """A task from a package that the cluster does not have."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return importlib.import_module, ("not_there",)

    def __call__(self, run: Run, **_: object) -> Record:
        return record_of(run)


def test_a_task_that_the_cluster_cannot_import_is_an_error(cluster: str) -> None:
    with Store() as store, pytest.raises(TrainingError, match="No module named 'not_there'"):
        train_all(RUNS[:1], store, engine_named("ray", address=cluster), task=Foreign())


def test_a_machine_without_memory_is_an_error_of_one_line() -> None:
    """The command starts its own cluster, whose workers are all killed. It ignores RAY_ADDRESS."""
    settings = {"memory_usage_threshold": "0", "memory_monitor_refresh_ms": "100", "task_oom_retries": "0"}
    environment = os.environ | {f"RAY_{name}": value for name, value in settings.items()}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_ADDRESS": "127.0.0.1:9"}
    command = [sys.executable, "-m", "fwplab", "study", "run", "irie2023", "--quick", "--own"]
    command += ["--languages", "parity", "--mixers", "lstm", "--engine", "ray", "--workers", "1"]
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (1, "", 1), ended.stderr
    assert "OutOfMemoryError: " in ended.stderr
    assert ended.stderr.endswith("; the same command goes on where this one stopped\n")


def takes_a_while(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    began = time.monotonic()
    time.sleep(0.5)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "times").write_text(json.dumps([began, time.monotonic()]))
    return record_of(run)


def test_workers_limits_the_concurrent_runs_on_a_running_cluster(cluster: str) -> None:
    with Store() as store:
        train_all(RUNS, store, engine_named("ray", address=cluster, workers=1), task=takes_a_while)
    times = sorted(json.loads((folder_of(run) / "times").read_text()) for run in RUNS)
    assert all(ended < began for (_, ended), (began, _) in itertools.pairwise(times))


GPU_SCRIPT = """
import json, sys
import ray
from tests.engines.test_kills import RUNS, record_gpu_share
from fwplab.engines import engine_named, train_all
from fwplab.errors import UserError
from fwplab.storage.store import Store
if __name__ == "__main__":
    gpus, share = json.loads(sys.argv[1])
    ray.init("local", num_cpus=2, num_gpus=gpus, include_dashboard=False)  # not the cluster of the other tests
    try:
        with Store() as store:
            train_all(RUNS[:2], store, engine_named("ray", gpus_a_run=share), task=record_gpu_share)
    except UserError as error:
        print(error)
    finally:
        ray.shutdown()
"""


def record_gpu_share(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    import ray

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "share").write_text(str(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)))
    return record_of(run)


@pytest.mark.parametrize(("gpus", "share"), [(1, 0.25), (1, 0.0), (0, 0.25)])
def test_runs_get_the_requested_share_of_a_gpu(gpus: int, share: float, tmp_path: Path) -> None:
    script = tmp_path / "gpus.py"
    script.write_text(GPU_SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), json.dumps([gpus, share])]
    ended = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=300)
    if gpus < share:
        assert "the Ray cluster has no GPU" in ended.stdout
    else:
        assert [float((folder_of(run) / "share").read_text()) for run in RUNS[:2]] == [share, share]
