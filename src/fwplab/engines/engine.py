"""The interface of an engine, which runs a task such as training on many runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fwplab.errors import WorkError
from fwplab.training.record import Progress
from fwplab.training.run import Run

DEATHS_ALLOWED = 3
"""How often a worker may die during one run before the engine gives up."""

Observer = Callable[[Progress], None]
Task = Callable[..., Any]
"""A function with the signature of `fwplab.training.trainer.train`, whose result can be pickled."""


Claim = Callable[[Run], bool]


def claim_all(run: Run) -> bool:
    """The claim of a driver that is the only one: it may train every run."""
    return True


class TrainingError(WorkError):
    """An error of a task. Its text is the traceback from the worker."""

    def __init__(self, run: Run, what: str) -> None:
        super().__init__(f"{run.mixer_name} on {run.language} (run {run.key}) {what}")


class WorkerLostError(TrainingError):
    """Too many workers died during one run. Training it again continues from its saved state."""

    resumable = True


class Engine(ABC):
    """Maps a task over runs."""

    @abstractmethod
    def map(
        self, task: Task, runs: Sequence[Run], observe: Observer | None = None, claim: Claim = claim_all
    ) -> Iterator[Any]:
        """Yields the result of the task for every run (for training: its record), in the order of completion.

        If a worker dies, another one continues the run from its saved state.

        observe: called in this process with the progress of the runs.
        claim: called in this process right before a run begins; a run for which it returns False is left out.

        Raises `WorkerLostError` after `DEATHS_ALLOWED` deaths during one run, the task's `UserError`, and
        `TrainingError` for any other error of the task.
        """
