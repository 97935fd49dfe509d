"""Training of many runs: which of them are missing, the engine that trains them, and the store for their records."""

from collections.abc import Sequence
from contextlib import nullcontext

from fwplab.engines.engine import Engine, Observer, Task, TrainingError, WorkerLostError
from fwplab.engines.local import Local, end_with_the_driver, signals_wait, usable_cores
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.storage.claims import Claims
from fwplab.storage.store import Store, folder_of, restricted
from fwplab.training.checkpoint import read_header
from fwplab.training.run import Run
from fwplab.training.spec import from_dict
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
MOST_SEEDS_SEARCHED = 64
"""The most seeds for which `plan` searches for training states of another number of groups."""


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
    """The members of `run` that the store does not have, as at most `groups` runs that can be trained in parallel.

    Members that are trained together have other rounding errors than alone. So the groups depend on the run and on
    `groups`, not on the finished members: a group is stored as a whole, and after a kill the other groups are the same.
    If there are training states of another number of groups, that number is kept.
    """
    missing = store.missing(run)
    if missing is None:
        return []
    numbers = [min(groups, len(run.seeds)), *range(1, len(run.seeds) + 1)]
    planned = (_groups(run, missing, number) for number in dict.fromkeys(numbers))
    first = next(planned)
    others = planned if len(run.seeds) <= MOST_SEEDS_SEARCHED else iter(())
    begun = (parts for parts in others if any(map(_is_begun, parts)))
    return first if any(map(_is_begun, first)) else next(begun, first)


def _groups(run: Run, missing: Run, number: int) -> list[Run]:
    """The missing members of `run` in this number of groups of all its members, without empty groups."""
    members = [[seed for seed in run.seeds[index::number] if seed in missing.seeds] for index in range(number)]
    return [restricted(missing, tuple(seeds)) for seeds in members if seeds]


def _is_begun(run: Run) -> bool:
    return (folder_of(run) / RESUME).exists()


def train_all(
    runs: Sequence[Run], store: Store, engine: Engine, *, observe: Observer | None = None, task: Task = train
) -> None:
    """Trains the runs that are not in the store, and saves each record as soon as it is finished.

    Several drivers with the same store share the runs. Each ends when all of them are finished.

    observe: called in this process with the progress of the runs.
    task: the training function; it returns the record of a run.
    """
    missing = [run for run in dict.fromkeys(runs) if store.load(run.key) is None]
    if missing:
        store.require_writable()
    with Claims(store) if missing else nullcontext() as claims:
        while missing and claims:
            for record in engine.map(task, tuple(missing), observe, claims.take):
                store.save(record)
                (folder_of(record.run) / RESUME).unlink(missing_ok=True)
                claims.release(record.run)
                missing.remove(record.run)
            missing = claims.wait(missing)
    if not store.read_only:
        _remove_states_of_finished(store)


def _remove_states_of_finished(store: Store) -> None:
    """Removes the training states of runs whose members are all finished, for any number of groups."""
    for path in sorted((home() / "runs").glob(f"*/{RESUME}")):
        try:
            run = from_dict(Run, read_header(path)["run"])
        except UserError:  # the file is damaged or was removed; its run reports this when it continues
            continue
        if store.missing(run) is None:
            path.unlink(missing_ok=True)
