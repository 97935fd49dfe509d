"""Trainings that are started on a page and continue in the background while the user opens other pages."""

import threading
from dataclasses import dataclass, field

from fwplab.engines import Local, plan, train_all
from fwplab.errors import UserError
from fwplab.storage.store import Store
from fwplab.training.record import Progress
from fwplab.training.run import Run

MOST_JOBS = 16
"""How many trainings may run or wait at the same time, on all pages together."""
WAIT_SECONDS = 0.2
_turn = threading.Lock()


class _Stopped(BaseException):
    """The user has stopped the training. As it is no `Exception`, engines do not report it as a failure."""


@dataclass
class Job:
    """A training in a background thread. Several seeds are trained in worker processes.

    It starts when no other one runs, because each uses all cores. If it is stopped, or this process ends, training the
    same run again continues from its saved state.
    """

    run: Run
    """The run to train."""
    progress: dict[str, Progress] = field(default_factory=dict)
    """The latest progress of each part of the run, by key."""
    error: str = ""
    """Why the training ended early; empty if it did not."""
    stop: bool = False
    """Set it to True to stop the training."""
    waiting: bool = True
    """Whether another training runs before it."""

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    @property
    def running(self) -> bool:
        """Whether the training is still running, or waits for another one."""
        return self.thread.is_alive()

    @property
    def share(self) -> float:
        """The completed share of `max_steps`, from 0 to 1, of the member with the fewest steps."""
        parts = [progress.step / progress.max_steps for progress in list(self.progress.values())]
        return min(parts, default=0.0)

    def _work(self) -> None:
        try:
            while not _turn.acquire(timeout=WAIT_SECONDS):
                self._end_if_stopped()
            try:
                self.waiting = False
                self._train()
            finally:
                _turn.release()
        except _Stopped:
            self.error = "stopped; train it again to continue"
        except UserError as error:
            self.error = str(error)
        except Exception as error:  # show any error on the page, as it would be lost in this thread
            self.error = f"{type(error).__name__}: {error}"

    def _train(self) -> None:
        with Store() as store:
            train_all(plan(self.run, store, len(self.run.seeds)), store, Local(), observe=self._observe)

    def _observe(self, progress: Progress) -> None:
        self._end_if_stopped()
        self.progress[progress.key] = progress

    def _end_if_stopped(self) -> None:
        if self.stop:
            raise _Stopped
