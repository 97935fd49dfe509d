"""What every engine is: it maps training over runs, wherever the workers are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fwplab.errors import WorkError
from fwplab.record import Progress
from fwplab.run import Run

DEATHS_ALLOWED = 3
"""Workers that one run may cost before the driver gives up."""

Observer = Callable[[Progress], None]
Task = Callable[..., Any]
"""`task(run, folder=..., device=..., observe=...)`, as `fwplab.trainer.train`; what it returns can be pickled."""


class TrainingError(WorkError):
    """Training raised; the text is its worker's."""

    def __init__(self, run: Run, what: str) -> None:
        super().__init__(f"{run.mixer_name} on {run.language} (run {run.key}) {what}")


class WorkerLostError(TrainingError):
    """Training took too many workers with it; trained again, it goes on from its checkpoint."""

    resumable = True


class Engine(ABC):
    """Maps a task over runs."""

    @abstractmethod
    def map(self, task: Task, runs: Sequence[Run], observe: Observer | None = None) -> Iterator[Any]:
        """What the task makes of every run (training: a record) as soon as it is there, in any order.

        A worker that dies is replaced, and its run goes on from its checkpoint; `WorkerLostError` after
        `DEATHS_ALLOWED` deaths of one run, `TrainingError` where the task raises. A `UserError` of the task is raised
        as it is.
        """
