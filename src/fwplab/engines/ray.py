"""The Ray engine: training on a cluster."""

import logging
import os
import secrets
import signal
import socket
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from fwplab.engines.engine import (
    DEATHS_ALLOWED,
    Claim,
    Engine,
    Observer,
    Task,
    TrainingError,
    WorkerLostError,
    claim_all,
)
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.storage.store import folder_of
from fwplab.training.run import Run

try:
    import ray
    from ray._private import ray_constants
except ModuleNotFoundError as error:
    raise UserError("the ray engine needs Ray; install it: pip install 'fwplab[ray]'") from error

QUEUED_RUNS_PER_SLOT = 2
"""How many runs are submitted for each that the cluster can train at a time.

This keeps all workers busy, and the memory of a driver with many runs small.
"""
POLL_SECONDS = 0.5
PROGRESS_TIMEOUT_SECONDS = 10.0
CONNECT_SECONDS = 10
LOOPBACK = "127.0.0.1"
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
OWN_CLUSTER = {
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # one for all clusters of this process, because Ray reads it once
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""The environment of a cluster that is started here."""


class Ray(Engine):
    """The tasks of a Ray cluster, one for each run.

    Training states and checkpoints are written to this process's `FWPLAB_HOME`. If a cluster has several machines, this
    must be a shared folder; otherwise runs of a machine that is lost start from the beginning.

    address: the address of a running cluster, or "auto" to find one; None starts a cluster on this machine.
    workers: the number of runs at a time, and of cores of a cluster that is started here; None for all cores or GPUs.
    device: the PyTorch device of every run.
    gpus_a_run: the share of a GPU for each run, from 0 to 1; 0 means a whole GPU if `device` is "cuda", else none.

    Raises `UserError` for values out of range.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, device: str = "cpu", gpus_a_run: float = 0.0
    ) -> None:
        if workers is not None and workers < 1:
            raise UserError(f"workers must be a positive whole number, not {workers}")
        if not 0 <= gpus_a_run <= 1:
            raise UserError(f"GPUs a run must be a share of one, from 0 to 1, not {gpus_a_run}")
        self.address, self.workers, self.device = address, workers, device
        self.gpus_a_run = gpus_a_run or float(device.startswith("cuda"))

    def map(
        self, task: Task, runs: Sequence[Run], observe: Observer | None = None, claim: Claim = claim_all
    ) -> Iterator[Any]:
        """As `Engine.map`."""
        if not runs:
            return
        connect = not ray.is_initialized()
        owned = connect and not self.address
        with _closed_cluster() if owned else nullcontext():
            if connect:
                self._start()
            try:
                if owned:
                    _check_is_closed()
                yield from _Driver(self, task, observe, owned=owned).work(runs, claim)
            finally:
                if connect:
                    ray.shutdown()

    def _start(self) -> None:
        _check_listens(self.address)
        # Ray would otherwise hide all GPUs from tasks that reserve none.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        here = {"address": "local", "num_cpus": self.workers}  # without "local", Ray would first look for a running one
        options: dict[str, Any] = {"address": self.address} if self.address else here
        answer = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"no Ray cluster at {self.address or 'this machine'}: {str(error).splitlines()[0]}"
            ) from error
        if callable(answer) and threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, answer
            )  # Ray has replaced the handler by its own, which exits without a message


@contextmanager
def _closed_cluster() -> Iterator[None]:
    """A Ray cluster that is started inside this context listens on the loopback address only, and asks for a token.

    Ray turns its token authentication on where no variable says otherwise, and finds the token in `RAY_AUTH_TOKEN`. It
    has no option for the address: it would replace 127.0.0.1 by an address that others reach, unless this constant of
    it, which its other processes read from the environment, says that there are no other machines.
    """
    before = {name: os.environ.get(name) for name in (*OWN_CLUSTER, *AUTHENTICATION)}
    several_machines = ray_constants.ENABLE_RAY_CLUSTER
    for name in AUTHENTICATION:
        os.environ.pop(name, None)
    os.environ.update(OWN_CLUSTER)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = several_machines
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _check_is_closed() -> None:
    """Raises `UserError` if the cluster that was started here is open to others."""
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if address != LOOPBACK or os.environ.get("RAY_AUTH_MODE") != "token":
        raise UserError(
            f"this version of Ray ({ray.__version__}) starts a cluster on {address} or without authentication; "
            "install another version, or choose --engine local"
        )


def _check_listens(address: str | None) -> None:
    """Raises `UserError` if no server listens at the address, because Ray itself would retry for minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS")
    if address in (None, "auto", "local"):
        return  # Ray finds a cluster on this machine, or starts one
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"{address!r} is no address of a Ray cluster; choose host:port, ray://host:port, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster at {address}: {error}; start one (ray start --head), or leave --address out for one here"
        ) from error


class _Driver:
    """Submits the runs of one call of `map` and collects their results.

    owned: whether the cluster was started for this call.
    """

    def __init__(self, engine: Ray, task: Task, observe: Observer | None, *, owned: bool) -> None:
        self.task, self.device, self.observe = ray.put(task), engine.device, observe
        gpus = engine.gpus_a_run
        # Ray repeats a task whose worker died. An exception of the task is returned as a result and not retried.
        self.remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=DEATHS_ALLOWED - 1, retry_exceptions=False)(
            _work
        )
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if gpus and "GPU" not in resources:  # Ray would wait for a GPU without any message
            raise UserError(
                "the Ray cluster has no GPU; choose --device cpu without --gpus-a-run, or another --address"
            )
        slots = resources["GPU"] / gpus if gpus else resources.get("CPU", 1.0)
        at_once = max(1, int(engine.workers or slots))
        # A running cluster may have more cores than `workers`, so submit no more than `workers` runs at a time.
        self.limit = at_once if engine.workers and not owned else at_once * QUEUED_RUNS_PER_SLOT
        self.board: Any = ray.remote(num_cpus=0, max_restarts=-1)(_ProgressBoard).remote() if observe else None

    def work(self, runs: Sequence[Run], claim: Claim) -> Iterator[Any]:
        waiting, busy = deque(runs), dict[Any, Run]()
        try:
            while waiting or busy:
                while waiting and len(busy) < self.limit:
                    run = waiting.popleft()
                    if not claim(run):
                        continue
                    busy[self.remote.remote(self.task, run, str(home()), self.device, self.board)] = run
                ready, _ = ray.wait(list(busy), timeout=POLL_SECONDS) if busy else ([], [])
                self._pass_on_progress()
                for done in ready:
                    yield self._result(done, busy.pop(done))
            self._pass_on_progress()
        finally:
            for left in busy:
                ray.cancel(left, force=True)

    def _result(self, done: Any, run: Run) -> Any:
        try:
            kind, content = ray.get(done)
        except ray.exceptions.WorkerCrashedError as error:
            raise WorkerLostError(run, f"failed: its worker died {DEATHS_ALLOWED} times") from error
        except ray.exceptions.RayTaskError as error:  # raised before the task began, for example by its import
            raise TrainingError(run, f"failed:\n{error}") from error
        except ray.exceptions.RayError as error:
            raise WorkerLostError(run, f"failed: {type(error).__name__}: {str(error).splitlines()[0]}") from error
        if kind == "user error":
            raise UserError(content)
        if kind == "failed":
            raise TrainingError(run, f"failed:\n{content}")
        return content

    def _pass_on_progress(self) -> None:
        if self.observe and self.board:
            try:
                updates = ray.get(self.board.take_all.remote(), timeout=PROGRESS_TIMEOUT_SECONDS)
            except ray.exceptions.RayError:  # the board died: Ray restarts it, and only progress messages are lost
                return
            for progress in updates:
                self.observe(progress)


class _ProgressBoard:
    """A Ray actor that holds the latest progress of each run until the driver takes it."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}

    def put(self, progress: Any) -> None:
        self.latest[progress.key] = progress

    def take_all(self) -> list[Any]:
        updates, self.latest = list(self.latest.values()), {}
        return updates


def _work(task: Task, run: Run, fwplab_home: str, device: str, board: Any) -> tuple[str, Any]:
    """Runs the task on a worker of the cluster; returns the kind of its outcome and the result or the error's text."""
    os.environ["FWPLAB_HOME"] = fwplab_home
    torch.set_num_threads(1)
    folder: Path = folder_of(run)
    observe = None if board is None else board.put.remote
    try:
        return "result", task(run, folder=folder, device=device, observe=observe)
    except UserError as error:
        return "user error", str(error)
    except Exception:  # return the traceback, as not every exception can be pickled
        return "failed", traceback.format_exc()
