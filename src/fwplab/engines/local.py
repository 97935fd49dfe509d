"""Training in this process, or in processes that share the cores."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from fwplab.engines.engine import DEATHS_ALLOWED, Engine, Observer, Task, TrainingError, WorkerLostError
from fwplab.errors import UserError
from fwplab.run import Run
from fwplab.store import folder_of

STOPPING = (signal.SIGINT, signal.SIGTERM)


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def signals_wait() -> Iterator[None]:
    """SIGINT and SIGTERM wait: for this process until the end of the block, for processes that are started meanwhile
    until they unblock them. A worker that is still importing then says nothing when a terminal interrupts the whole
    group, and none is half-started: the driver answers the signal, and ends them all."""
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


class Local(Engine):
    """Worker processes, each pinned to its share of the cores and at one run at a time.

    A worker lives until there is nothing left to do, because starting one costs seconds. With one worker, or one
    run, everything happens in this process.
    """

    def __init__(self, workers: int | None = None, device: str = "cpu") -> None:
        self.workers = len(usable_cores()) if workers is None else workers
        if self.workers < 1:
            raise UserError(f"workers must be a positive whole number, not {workers}")
        self.device = device

    def map(self, task: Task, runs: Sequence[Run], observe: Observer | None = None) -> Iterator[Any]:
        """As `Engine.map`."""
        size = min(self.workers, len(runs))
        return _Crew(size, self.device, observe, task).work(runs) if size > 1 else self._here(task, runs, observe)

    def _here(self, task: Task, runs: Sequence[Run], observe: Observer | None) -> Iterator[Any]:
        """In this process, on one thread, so that the bits are those of a worker."""
        for run in runs:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                made = task(run, folder=folder_of(run), device=self.device, observe=observe)
            except UserError:
                raise
            except Exception as error:
                raise TrainingError(run, f"failed:\n{traceback.format_exc()}") from error
            finally:
                torch.set_num_threads(threads)
            yield made


@dataclass
class _Worker:
    process: SpawnProcess
    cores: list[int]
    run: Run | None = None


class _Crew:
    """The worker processes of one map."""

    def __init__(self, size: int, device: str, observe: Observer | None, task: Task) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.shares = [usable_cores()[place::size] or usable_cores() for place in range(size)]
        self.device, self.observe, self.task = device, observe, task
        self.workers: dict[Connection, _Worker] = {}
        self.deaths: dict[str, int] = {}

    def work(self, runs: Sequence[Run]) -> Iterator[Any]:
        waiting = list(runs)
        try:
            for share in self.shares:
                self._give(self._hire(share), waiting)
            while self.workers:
                for ready in wait(list(self.workers)):
                    assert isinstance(ready, Connection)
                    result = self._hear(ready, waiting)
                    if result is not None:
                        yield result[0]
        finally:
            for worker in self.workers.values():
                worker.process.kill()
                worker.process.join()

    def _hire(self, cores: list[int]) -> Connection:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, cores, self.device, self.task), daemon=True)
        with signals_wait():  # nor is this one interrupted before it knows whom it has started
            process.start()
            theirs.close()
            self.workers[ours] = _Worker(process, cores)
        return ours

    def _give(self, worker: Connection, waiting: list[Run]) -> None:
        """The next run, or leave to go."""
        run = waiting.pop(0) if waiting else None
        try:
            worker.send(run)
        except OSError:  # it died between two runs
            if run is not None:
                waiting.insert(0, run)
        else:
            self.workers[worker].run = run

    def _hear(self, ready: Connection, waiting: list[Run]) -> tuple[Any] | None:
        run = self.workers[ready].run
        try:
            kind, content = ready.recv()
        except (EOFError, OSError):
            self._bury(ready, waiting)
            return None
        assert run is not None
        if kind == "progress":
            if self.observe:
                self.observe(content)
        elif kind == "wrong":
            raise UserError(content)
        elif kind == "failed":
            raise TrainingError(run, f"failed:\n{content}")
        else:
            self.workers[ready].run = None  # it is done, even if this worker dies before it has another
            self._give(ready, waiting)
            return (content,)
        return None

    def _bury(self, ready: Connection, waiting: list[Run]) -> None:
        """A worker has gone: because it was told so, or it died and is replaced while there is work."""
        worker = self.workers.pop(ready)
        worker.process.join()
        ready.close()
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
            self._give(self._hire(worker.cores), waiting)


def end_with_the_driver() -> None:
    """Watches, in a worker, for the end of its driver: one that was killed leaves nobody who works beside the one that
    is started in its place."""

    def watch() -> None:
        driver = multiprocessing.parent_process()
        if driver is not None:
            driver.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(pipe: Connection, cores: list[int], device: str, task: Task) -> None:
    """A worker's life: runs come, records go, None ends it. SIGINT stays blocked, since the driver answers it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(1)
    end_with_the_driver()

    def say(kind: str, content: Any) -> None:
        pipe.send((kind, content))

    try:
        while (run := pipe.recv()) is not None:
            made = task(run, folder=folder_of(run), device=device, observe=lambda progress: say("progress", progress))
            say("made", made)
    except UserError as error:
        say("wrong", str(error))
    except EOFError:
        pass  # the driver has gone
    except BaseException:  # its text is all that the driver can be told
        say("failed", traceback.format_exc())
