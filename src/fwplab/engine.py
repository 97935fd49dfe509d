"""Maps training over runs: in this process, or in processes that share the cores."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from fwplab.errors import UserError
from fwplab.record import Progress, Record
from fwplab.run import Run
from fwplab.store import Store, folder_of, restricted
from fwplab.trainer import RESUME, train

DEATHS_ALLOWED = 3

Observer = Callable[[Progress], None]
Task = Callable[..., Record]


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def plan(run: Run, store: Store, workers: int, device: str) -> list[Run]:
    """What is to be trained for `run`: the members that no finished run holds, in groups.

    On a CPU a group for each worker, since a stack of members gains little there over a process a core; elsewhere
    all members in one program.
    """
    missing = store.missing(run)
    if missing is None:
        return []
    groups = min(workers, len(missing.seeds)) if device == "cpu" else 1
    return [restricted(missing, missing.seeds[index::groups]) for index in range(groups)]


def train_all(
    runs: Sequence[Run],
    store: Store,
    *,
    workers: int = 1,
    device: str = "cpu",
    observe: Observer | None = None,
    task: Task = train,
) -> list[Record]:
    """The records of `runs`, in their order; runs that the store holds are not trained again.

    Every worker is a process on its share of the cores. The store is written here alone. A worker that dies is
    replaced, and its run goes on from its checkpoint; after three deaths of one run this raises `RuntimeError`.
    """
    if workers < 1:
        raise UserError(f"workers must be a positive whole number, not {workers}")
    waiting = [run for run in dict.fromkeys(runs) if not store.has(run.key)]

    def finish(record: Record) -> None:
        store.save(record)
        (folder_of(record.run) / RESUME).unlink(missing_ok=True)

    if workers == 1 or len(waiting) == 1:
        _here(waiting, finish, device, observe, task)
    elif waiting:
        _Crew(min(workers, len(waiting)), device, observe, task).work(waiting, finish)
    found = [store.load(run.key) for run in runs]
    return [record for record in found if record is not None]


def _here(runs: list[Run], finish: Callable[[Record], None], device: str, observe: Observer | None, task: Task) -> None:
    """In this process, on one thread, so that the bits are those of a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run in runs:
            finish(task(run, folder=folder_of(run), device=device, observe=observe))
    finally:
        torch.set_num_threads(threads)


class _Crew:
    """Worker processes, one run at a time each."""

    def __init__(self, size: int, device: str, observe: Observer | None, task: Task) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.shares = [usable_cores()[place::size] or usable_cores() for place in range(size)]
        self.device, self.observe, self.task = device, observe, task
        self.busy: dict[Connection, tuple[SpawnProcess, Run, int]] = {}
        self.deaths: dict[str, int] = {}

    def work(self, runs: list[Run], finish: Callable[[Record], None]) -> None:
        waiting, free = list(runs), list(range(len(self.shares)))
        try:
            while waiting or self.busy:
                while waiting and free:
                    self._start(waiting.pop(0), free.pop(0))
                for ready in wait(list(self.busy)):
                    assert isinstance(ready, Connection)
                    self._hear(ready, waiting, free, finish)
        finally:
            for process, _, _ in self.busy.values():
                process.kill()
                process.join()

    def _start(self, run: Run, place: int) -> None:
        ours, theirs = self.context.Pipe(duplex=False)
        arguments = (theirs, run, self.shares[place], self.device, folder_of(run), self.task)
        process = self.context.Process(target=_worker, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self.busy[ours] = (process, run, place)

    def _hear(self, ready: Connection, waiting: list[Run], free: list[int], finish: Callable[[Record], None]) -> None:
        process, run, place = self.busy[ready]
        try:
            kind, content = ready.recv()
        except EOFError:
            kind, content = "died", None
        if kind == "progress":
            if self.observe:
                self.observe(content)
            return
        process.join()
        ready.close()
        del self.busy[ready]
        free.append(place)
        if kind == "record":
            finish(content)
        elif kind == "wrong":
            raise UserError(content)
        elif kind == "failed":
            raise RuntimeError(f"{run.mixer_name} on {run.language} (run {run.key}) failed:\n{content}")
        else:
            self.deaths[run.key] = self.deaths.get(run.key, 0) + 1
            if self.deaths[run.key] >= DEATHS_ALLOWED:
                raise RuntimeError(
                    f"{run.mixer_name} on {run.language} (run {run.key}): its worker died {DEATHS_ALLOWED} times, "
                    f"last with exit code {process.exitcode}"
                )
            waiting.insert(0, run)


def _worker(pipe: Connection, run: Run, cores: list[int], device: str, folder: Path, task: Task) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(1)

    def say(kind: str, content: Any) -> None:
        pipe.send((kind, content))

    try:
        record = task(run, folder=folder, device=device, observe=lambda progress: say("progress", progress))
        say("record", record)
    except UserError as error:
        say("wrong", str(error))
    except KeyboardInterrupt:
        pass  # the driver has heard it too, and ends this process
    except BaseException:  # its text is all that the driver can be told
        say("failed", traceback.format_exc())
