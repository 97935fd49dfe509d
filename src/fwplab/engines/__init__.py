"""Training mapped over runs: what is still to be done, who does it, and where the records go."""

from collections.abc import Sequence

from fwplab.engines.engine import Engine, Observer, Task, TrainingError, WorkerLostError
from fwplab.engines.local import Local, end_with_the_driver, signals_wait, usable_cores
from fwplab.errors import UserError
from fwplab.run import Run
from fwplab.store import Store, folder_of, restricted
from fwplab.trainer import RESUME, train

__all__ = [
    "ENGINES",
    "Engine",
    "Local",
    "TrainingError",
    "WorkerLostError",
    "end_with_the_driver",
    "engine_named",
    "plan",
    "signals_wait",
    "train_all",
    "usable_cores",
]

ENGINES = ("local", "ray")


def engine_named(
    name: str,
    *,
    address: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpus_a_run: float = 0.0,
) -> Engine:
    """The engine called `name`; a `UserError` that lists the names if there is none."""
    if name == "local":
        if gpus_a_run:
            raise UserError("the local engine shares no GPUs out; choose --engine ray for --gpus-a-run")
        if address is not None:
            raise UserError("the local engine has no address; choose --engine ray for a cluster")
        return Local(workers, device)
    if name == "ray":
        from fwplab.engines.ray import Ray  # an optional extra: imported where it is asked for

        return Ray(address, workers, device, gpus_a_run)
    raise UserError(f"unknown engine {name!r}; choose from: {', '.join(ENGINES)}")


def plan(run: Run, store: Store, groups: int) -> list[Run]:
    """What is to be trained for `run`: the members that no finished run holds, in at most so many groups."""
    missing = store.missing(run)
    if missing is None:
        return []
    groups = min(groups, len(missing.seeds))
    return [restricted(missing, missing.seeds[index::groups]) for index in range(groups)]


def train_all(
    runs: Sequence[Run], store: Store, engine: Engine, *, observe: Observer | None = None, task: Task = train
) -> None:
    """Fills the store with the records of `runs`; those that it holds are not trained again.

    The store is written here alone, each record as soon as it comes, and none is kept in memory.
    """
    there = store.keys()
    waiting = [run for run in dict.fromkeys(runs) if run.key not in there]
    for record in engine.map(task, waiting, observe):
        store.save(record)
        (folder_of(record.run) / RESUME).unlink(missing_ok=True)
