"""The local engine: training in this process, or in several processes on this machine."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
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
from fwplab.errors import UserError, shown
from fwplab.storage.store import folder_of
from fwplab.training.run import Run

STOPPING = (signal.SIGINT, signal.SIGTERM)

MOST_WORKERS = 1_000


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def signals_wait() -> Iterator[None]:
    """Delays SIGINT and SIGTERM: in this process until the end of the block, in processes started inside until they
    unblock them.

    An interrupt from the terminal reaches the whole process group. Without the delay, a worker that is still importing
    would print a traceback. The driver answers the signal and ends its workers.
    """
    resource_tracker.ensure_running()  # the first process would start it, and that unblocks both
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # a new process takes this mask
    waiting: list[int] = []
    handlers: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():  # another thread may still be interrupted in its place
        handlers = {number: old for number in STOPPING if callable(old := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: waiting.append(number))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for one in waiting:
            signal.raise_signal(one)


def check_workers(workers: int) -> None:
    """Raises `UserError` for a number of processes that no machine can run."""
    if not 1 <= workers <= MOST_WORKERS:
        raise UserError(f"workers must be a positive whole number of at most {MOST_WORKERS:,}, not {shown(workers)}")


class Local(Engine):
    """Worker processes on this machine, each pinned to its share of the cores, which train one run at a time each.

    With one worker, or for one run, the task runs in this process.

    workers: the number of processes; None for one a core.
    device: the PyTorch device of every run.
    """

    def __init__(self, workers: int | None = None, device: str = "cpu") -> None:
        self.workers = len(usable_cores()) if workers is None else workers
        check_workers(self.workers)
        self.device = device

    def map(
        self, task: Task, runs: Sequence[Run], observe: Observer | None = None, claim: Claim = claim_all
    ) -> Iterator[Any]:
        """As `Engine.map`."""
        size = min(self.workers, len(runs))
        if size > 1:
            return _WorkerPool(size, self.device, observe, task, claim).work(runs)
        return self._map_here(task, filter(claim, runs), observe)

    def _map_here(self, task: Task, runs: Iterable[Run], observe: Observer | None) -> Iterator[Any]:
        """Runs the task in this process, on one thread as in a worker, so that the results have the same bits."""
        for run in runs:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                result = task(run, folder=folder_of(run), device=self.device, observe=observe)
            except UserError:
                raise
            except Exception as error:
                raise TrainingError(run, f"failed:\n{traceback.format_exc()}") from error
            finally:
                torch.set_num_threads(threads)
            yield result


@dataclass
class _Worker:
    """A worker process, its cores, and its current run."""

    process: SpawnProcess
    cores: list[int]
    run: Run | None = None


class _WorkerPool:
    """The worker processes of one call of `map`. They are reused, because starting one takes seconds."""

    def __init__(self, size: int, device: str, observe: Observer | None, task: Task, claim: Claim = claim_all) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.shares = [usable_cores()[index::size] or usable_cores() for index in range(size)]
        self.device, self.observe, self.task, self.claim = device, observe, task, claim
        self.workers: dict[Connection, _Worker] = {}
        self.deaths: dict[str, int] = {}

    def work(self, runs: Sequence[Run]) -> Iterator[Any]:
        waiting = list(runs)
        try:
            for share in self.shares:
                self._assign(self._start_worker(share), waiting)
            while self.workers:
                for ready in wait(list(self.workers)):
                    assert isinstance(ready, Connection)
                    result = self._receive(ready, waiting)
                    if result is not None:
                        yield result[0]
        finally:
            for worker in self.workers.values():
                worker.process.kill()
                worker.process.join()

    def _start_worker(self, cores: list[int]) -> Connection:
        pipe, worker_end = self.context.Pipe()
        process = self.context.Process(target=_work, args=(worker_end, cores, self.device, self.task), daemon=True)
        with signals_wait():  # an interrupt between the start and the entry in `workers` would leave a process behind
            process.start()
            worker_end.close()
            self.workers[pipe] = _Worker(process, cores)
        return pipe

    def _assign(self, pipe: Connection, waiting: list[Run]) -> None:
        """Sends the next run that can be claimed to a worker, or None, which ends it."""
        run = None
        while waiting and run is None:
            first = waiting.pop(0)
            run = first if self.claim(first) else None
        try:
            pipe.send(run)
        except OSError:  # the worker died between two runs
            if run is not None:
                waiting.insert(0, run)
        else:
            self.workers[pipe].run = run

    def _receive(self, pipe: Connection, waiting: list[Run]) -> tuple[Any] | None:
        """Handles one message of a worker; returns the result if the message is one, as a tuple."""
        run = self.workers[pipe].run
        try:
            kind, content = pipe.recv()
        except (EOFError, OSError):
            self._handle_exit(pipe, waiting)
            return None
        assert run is not None
        if kind == "progress":
            if self.observe:
                self.observe(content)
        elif kind == "user error":
            raise UserError(content)
        elif kind == "failed":
            raise TrainingError(run, f"failed:\n{content}")
        else:
            self.workers[pipe].run = None  # the run is finished, even if this worker dies before its next one
            self._assign(pipe, waiting)
            return (content,)
        return None

    def _handle_exit(self, pipe: Connection, waiting: list[Run]) -> None:
        """Removes a worker that has ended, and, if there are runs left, starts another one on its cores."""
        worker = self.workers.pop(pipe)
        worker.process.join()
        pipe.close()
        if worker.run is not None:
            key = worker.run.key
            self.deaths[key] = self.deaths.get(key, 0) + 1
            if self.deaths[key] >= DEATHS_ALLOWED:
                code = worker.process.exitcode
                raise WorkerLostError(
                    worker.run, f"failed: its worker died {DEATHS_ALLOWED} times, last with exit code {code}"
                )
            waiting.insert(0, worker.run)
        if waiting:
            self._assign(self._start_worker(worker.cores), waiting)


def end_with_the_driver() -> None:
    """Starts a thread that ends this worker when its driver has ended.

    The worker then does not train beside the workers of the next driver.
    """

    def watch() -> None:
        driver = multiprocessing.parent_process()
        if driver is not None:
            driver.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(pipe: Connection, cores: list[int], device: str, task: Task) -> None:
    """The main function of a worker: receives runs until None, and sends back progress and results.

    SIGINT stays blocked, since the driver answers it.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(1)
    end_with_the_driver()

    def send(kind: str, content: Any) -> None:
        pipe.send((kind, content))

    try:
        while (run := pipe.recv()) is not None:
            result = task(
                run, folder=folder_of(run), device=device, observe=lambda progress: send("progress", progress)
            )
            send("result", result)
    except UserError as error:
        send("user error", str(error))
    except EOFError:
        pass  # the driver has ended
    except BaseException:  # send the traceback, as not every exception can be pickled
        send("failed", traceback.format_exc())
