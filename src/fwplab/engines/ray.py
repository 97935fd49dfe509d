"""Training on a Ray cluster."""

import logging
import os
import signal
import socket
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fwplab.engines.engine import DEATHS_ALLOWED, Engine, Observer, Task, TrainingError, WorkerLostError
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.run import Run
from fwplab.store import folder_of

try:
    import ray
except ModuleNotFoundError as error:
    raise UserError("the ray engine needs Ray; install it: pip install 'fwplab[ray]'") from error

AHEAD = 2
"""Runs handed to the cluster for each that it can do at a time: enough that no worker waits, few enough that a driver
with tens of thousands of runs stays small."""
HEAR_EVERY_SECONDS = 0.5
NEWS_SECONDS = 10.0
CONNECT_SECONDS = 10


class Ray(Engine):
    """Tasks of a Ray cluster: each takes a core, and `gpus_a_run` of a GPU (0: one with `device="cuda"`, else none).

    `address` is a running cluster's, or "auto", of which `workers` runs at a time are asked at most; without one a
    cluster is started on this machine with `workers` cores.
    Checkpoints go to this process's `FWPLAB_HOME`: on more than one machine it must be a folder that they share, or
    runs of a lost machine begin anew.
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

    def map(self, task: Task, runs: Sequence[Run], observe: Observer | None = None) -> Iterator[Any]:
        """As `Engine.map`; the driver alone writes records."""
        if not runs:
            return
        connect = not ray.is_initialized()
        if connect:
            self._start()
        try:
            yield from _Driver(self, task, observe, ours=connect and not self.address).work(runs)
        finally:
            if connect:
                ray.shutdown()

    def _start(self) -> None:
        _check_listens(self.address)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without a GPU keeps what it sees
        here = {"address": "local", "num_cpus": self.workers}  # without "local" Ray would look for another's first
        options: dict[str, Any] = {"address": self.address} if self.address else here
        answer = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"no Ray cluster at {self.address or 'this machine'}: {str(error).splitlines()[0]}"
            ) from error
        if callable(answer) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, answer)  # Ray has put its own in the place, which ends without a word


def _check_listens(address: str | None) -> None:
    """A `UserError` where nobody listens: Ray itself would try again for minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS")
    if address in (None, "auto", "local"):
        return  # Ray looks for a cluster on this machine, or starts one
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
    """Keeps the cluster busy and hears what comes back."""

    def __init__(self, engine: Ray, task: Task, observe: Observer | None, *, ours: bool) -> None:
        self.task, self.device, self.observe = ray.put(task), engine.device, observe
        gpus = engine.gpus_a_run
        # Ray starts a dead worker again; a task that raises is our own business.
        self.remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=DEATHS_ALLOWED - 1, retry_exceptions=False)(
            _work
        )
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if gpus and "GPU" not in resources:  # Ray would wait for one in silence
            raise UserError(
                "the Ray cluster has no GPU; choose --device cpu without --gpus-a-run, or another --address"
            )
        slots = resources["GPU"] / gpus if gpus else resources.get("CPU", 1.0)
        at_once = max(1, int(engine.workers or slots))
        # Another's cluster may have more cores than `workers`: what it is not handed is all that it does not run.
        self.limit = at_once if engine.workers and not ours else at_once * AHEAD
        self.board: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote() if observe else None

    def work(self, runs: Sequence[Run]) -> Iterator[Any]:
        waiting, busy = deque(runs), dict[Any, Run]()
        try:
            while waiting or busy:
                while waiting and len(busy) < self.limit:
                    run = waiting.popleft()
                    busy[self.remote.remote(self.task, run, str(home()), self.device, self.board)] = run
                ready, _ = ray.wait(list(busy), timeout=HEAR_EVERY_SECONDS)
                self._hear()
                for done in ready:
                    yield self._take(done, busy.pop(done))
            self._hear()
        finally:
            for left in busy:
                ray.cancel(left, force=True)

    def _take(self, done: Any, run: Run) -> Any:
        try:
            kind, content = ray.get(done)
        except ray.exceptions.WorkerCrashedError as error:
            raise WorkerLostError(run, f"failed: its worker died {DEATHS_ALLOWED} times") from error
        except ray.exceptions.RayTaskError as error:  # before the task: it cannot be imported there, say
            raise TrainingError(run, f"failed:\n{error}") from error
        except ray.exceptions.RayError as error:
            raise WorkerLostError(run, f"failed: {type(error).__name__}: {str(error).splitlines()[0]}") from error
        if kind == "wrong":
            raise UserError(content)
        if kind == "failed":
            raise TrainingError(run, f"failed:\n{content}")
        return content

    def _hear(self) -> None:
        if self.observe and self.board:
            try:
                news = ray.get(self.board.news.remote(), timeout=NEWS_SECONDS)
            except ray.exceptions.RayError:  # a board that died is started again: news is lost, no run waits for it
                return
            for progress in news:
                self.observe(progress)


class _Board:
    """Where workers write how far they are, the last word of each run."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}

    def tell(self, progress: Any) -> None:
        self.latest[progress.key] = progress

    def news(self) -> list[Any]:
        told, self.latest = list(self.latest.values()), {}
        return told


def _work(task: Task, run: Run, fwplab_home: str, device: str, board: Any) -> tuple[str, Any]:
    os.environ["FWPLAB_HOME"] = fwplab_home
    torch.set_num_threads(1)
    folder: Path = folder_of(run)
    observe = None if board is None else board.tell.remote
    try:
        return "made", task(run, folder=folder, device=device, observe=observe)
    except UserError as error:
        return "wrong", str(error)
    except Exception:  # its text is all that the driver can be told
        return "failed", traceback.format_exc()
