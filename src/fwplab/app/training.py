"""Training that a page has started and goes on while other pages are looked at."""

import threading
from dataclasses import dataclass, field

from fwplab.engines import Local, plan, train_all
from fwplab.errors import UserError
from fwplab.record import Progress
from fwplab.run import Run
from fwplab.store import Store


class _Stopped(BaseException):  # a wish, no error: no engine takes it for the failure of a training
    pass


@dataclass
class Job:
    """One training, in worker processes where more than one seed is left to train; a thread waits for them.

    What it had reached when it was stopped, or this process ended, is in its checkpoint: the same run goes on there.
    """

    run: Run
    progress: dict[str, Progress] = field(default_factory=dict)
    error: str = ""
    stop: bool = False

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    @property
    def running(self) -> bool:
        """Whether it is still being trained."""
        return self.thread.is_alive()

    @property
    def share(self) -> float:
        """How much of the steps at most is done, of the member that is furthest behind."""
        parts = [progress.step / progress.max_steps for progress in self.progress.values()]
        return min(parts, default=0.0)

    def _work(self) -> None:
        try:
            with Store() as store:
                runs = plan(self.run, store, len(self.run.seeds))
                train_all(runs, store, Local(), observe=self._observe)
        except _Stopped:
            self.error = "stopped; the same training goes on where it was"
        except UserError as error:
            self.error = str(error)
        except Exception as error:  # the page has to say whatever it was
            self.error = f"{type(error).__name__}: {error}"

    def _observe(self, progress: Progress) -> None:
        if self.stop:
            raise _Stopped
        self.progress[progress.key] = progress
