"""Shows the progress of runs: a live table on a terminal, plain lines in a file or a pipe."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.progress import Task as BarTask
from rich.table import Table
from rich.text import Text

from fwplab.languages import short_name
from fwplab.tables.numbers import percent
from fwplab.tables.rows import model_name
from fwplab.training.record import Progress
from fwplab.training.run import Run

PLAIN_EVERY_SECONDS = 15.0


class TimeLeft(ProgressColumn):
    """An upper bound of the time left: as if every run used all its steps. Solved runs end earlier."""

    def render(self, task: BarTask) -> Text:
        """The text of the column, in minutes and seconds."""
        if not task.completed or task.total is None or not task.elapsed:
            return Text("at most --:-- left")
        seconds = int(task.elapsed * (task.total - task.completed) / task.completed)
        return Text(f"at most {seconds // 60}:{seconds % 60:02d} left")


class ProgressView:
    """Shows the progress of several runs: losses, accuracies, the number of solved members and the time left.

    Use it as a context manager, and pass `observe` to the engine.

    runs: the runs to train.
    console: the terminal or file to write to; None for standard error.
    """

    def __init__(self, runs: Sequence[Run], console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.runs = {run.key: run for run in runs}
        self.latest: dict[str, Progress] = {}
        self.printed: dict[str, tuple[float, int]] = {}
        columns = TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeLeft()
        self.bar = Bar(*columns, console=self.console)
        self.task = self.bar.add_task("steps", total=sum(run.protocol.max_steps for run in runs))
        self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> "ProgressView":
        if self.console.is_terminal:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.live.__exit__(kind, error, trace)

    def observe(self, progress: Progress) -> None:
        """Updates the progress of one run."""
        self.latest[progress.key] = progress
        done = sum(p.max_steps if _ended(p) else p.step for p in self.latest.values())
        self.bar.update(self.task, completed=done)
        if not self.console.is_terminal:
            self._print_line(progress)

    def _print_line(self, progress: Progress) -> None:
        """Prints a line every `PLAIN_EVERY_SECONDS`, and when a member's training has ended."""
        last_time, ended_before = self.printed.get(progress.key, (0.0, 0))
        now, ended = time.monotonic(), sum(member.status is not None for member in progress.members)
        if now - last_time < PLAIN_EVERY_SECONDS and ended == ended_before:
            return
        self.printed[progress.key] = now, ended
        cells = self._cells(progress)
        self.console.print(
            f"{cells[0]} on {cells[1]}: step {cells[2]}, loss {cells[3]}, Bin0 {cells[4]}, Bin1 {cells[5]}, {cells[6]}",
            highlight=False,
            soft_wrap=True,
        )

    def _render(self) -> Group:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("model", "language", "step", "loss", "Bin0 %", "Bin1 %", "members"):
            table.add_column(name, no_wrap=True, justify="left" if name in ("model", "language") else "right")
        for progress in self.latest.values():
            table.add_row(*self._cells(progress), style="dim" if _ended(progress) else "")
        waiting = len(self.runs) - len(self.latest)
        return Group(table, Text(f"{waiting} runs waiting" if waiting else ""), self.bar)

    def _cells(self, progress: Progress) -> tuple[str, ...]:
        run, members = self.runs[progress.key], progress.members
        losses = [m.train_loss for m in members if m.train_loss is not None]
        return (
            model_name(run),
            escape(short_name(run.language)),
            f"{progress.step}/{progress.max_steps}",
            f"{sum(losses) / len(losses):.4f}" if losses else "-",
            " ".join(percent(m.bin0_accuracy, decimals=0) for m in members),
            " ".join(percent(m.bin1_accuracy, decimals=0) for m in members),
            f"solved {sum(m.status == 'solved' for m in members)} of {len(members)}"
            + "".join(f", diverged {n}" for n in [sum(m.status == "diverged" for m in members)] if n),
        )


def _ended(progress: Progress) -> bool:
    return all(member.status is not None for member in progress.members)
