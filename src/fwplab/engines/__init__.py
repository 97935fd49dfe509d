"""Training of many runs: which of them are missing, the engine that trains them, and the store for their records."""

from collections.abc import Sequence

from fwplab.engines.engine import Engine, Observer, Task, TrainingError, WorkerLostError
from fwplab.engines.local import Local, end_with_the_driver, signals_wait, usable_cores
from fwplab.errors import UserError
from fwplab.storage.store import Store, folder_of, restricted
from fwplab.training.run import Run
from fwplab.training.trainer import RESUME, train

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
    """The engine called `name`.

    address: the address of a running cluster (Ray only).
    workers: the number of runs that are trained at the same time; None for one a core or GPU.
    device: the PyTorch device of every run.
    gpus_a_run: the share of a GPU for each run, from 0 to 1 (Ray only).

    Raises `UserError` for an unknown name, and for options that the engine does not have.
    """
    if name == "local":
        if gpus_a_run:
            raise UserError("the local engine does not share GPUs; choose --engine ray for --gpus-a-run")
        if address is not None:
            raise UserError("the local engine has no address; choose --engine ray for a cluster")
        return Local(workers, device)
    if name == "ray":
        from fwplab.engines.ray import Ray  # Ray is optional, so it is imported only when it is used

        return Ray(address, workers, device, gpus_a_run)
    raise UserError(f"unknown engine {name!r}; choose from: {', '.join(ENGINES)}")


def plan(run: Run, store: Store, groups: int) -> list[Run]:
    """The members of `run` that the store does not have, as at most `groups` runs that can be trained in parallel."""
    missing = store.missing(run)
    if missing is None:
        return []
    groups = min(groups, len(missing.seeds))
    return [restricted(missing, missing.seeds[index::groups]) for index in range(groups)]


def train_all(
    runs: Sequence[Run], store: Store, engine: Engine, *, observe: Observer | None = None, task: Task = train
) -> None:
    """Trains the runs that are not in the store, and saves each record as soon as it is finished.

    observe: called in this process with the progress of the runs.
    task: the training function; it returns the record of a run.
    """
    missing = [run for run in dict.fromkeys(runs) if store.load(run.key) is None]
    if missing:
        store.require_writable()
    for record in engine.map(task, missing, observe):
        store.save(record)
        (folder_of(record.run) / RESUME).unlink(missing_ok=True)
