"""Trainings that are started on a page and continue in the background while the user opens other pages."""

import threading
from dataclasses import dataclass, field

from fwplab.engines import Local, plan, train_all
from fwplab.errors import UserError
from fwplab.record import Progress
from fwplab.run import Run
from fwplab.store import Store


class _Stopped(BaseException):
    """The user has stopped the training. As it is no `Exception`, engines do not report it as a failure."""


@dataclass
class Job:
    """A training in a background thread, which starts at once. Several seeds are trained in worker processes.

    If it is stopped, or this process ends, training the same run again continues from its saved state.
    """

    run: Run
    """The run to train."""
    progress: dict[str, Progress] = field(default_factory=dict)
    """The latest progress of each part of the run, by key."""
    error: str = ""
    """Why the training ended early; empty if it did not."""
    stop: bool = False
    """Set it to True to stop the training."""

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    @property
    def running(self) -> bool:
        """Whether the training is still running."""
        return self.thread.is_alive()

    @property
    def share(self) -> float:
        """The completed share of `max_steps`, from 0 to 1, of the member with the fewest steps."""
        parts = [progress.step / progress.max_steps for progress in self.progress.values()]
        return min(parts, default=0.0)

    def _work(self) -> None:
        try:
            with Store() as store:
                runs = plan(self.run, store, len(self.run.seeds))
                train_all(runs, store, Local(), observe=self._observe)
        except _Stopped:
            self.error = "stopped; train it again to continue"
        except UserError as error:
            self.error = str(error)
        except Exception as error:  # show any error on the page, as it would be lost in this thread
            self.error = f"{type(error).__name__}: {error}"

    def _observe(self, progress: Progress) -> None:
        if self.stop:
            raise _Stopped
        self.progress[progress.key] = progress
