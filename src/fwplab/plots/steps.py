"""The figure of the training steps after which seeds solve their language."""

from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation

from fwplab.plots.style import INK, STYLE, LineStyle, key, legend, line_styles, names, panelled, percent_axis
from fwplab.tables.rows import by_cell, cell_members, cell_of, unsolved
from fwplab.training.record import Record
from fwplab.training.run import Run

APART = 1.2
"""The distance, in points, between lines that would hide each other."""


def steps_to_solve(records: Sequence[Record], place: Callable[[Run], tuple[str, str]] = cell_of) -> Figure:
    """Draws the share of seeds that have not solved their language against training steps (Kaplan-Meier).

    A marker shows a step at which seeds solve it, a tick where seeds end unsolved, and a cross where a seed diverged.
    The lines of a panel are shifted a little, so that none hides another.

    place: gives the panel and the line of a run; by default a panel for each language and a line for each mixer.
    """
    cells = by_cell(records, place)
    titles, lines = names(cells)
    styles = line_styles(lines)
    members = [member for record in records for member in record.members]
    first = min((check.step for member in members for check in member.checks), default=1)
    last = max(record.run.protocol.max_steps for record in records)
    with matplotlib.rc_context(STYLE):
        figure, panels = panelled(titles, "training step", "seeds not solved yet (%)")
        figure.set_label(f"Seeds that have not solved it yet, by training step: {'; '.join(titles)}")
        for axes, title in zip(panels, titles, strict=True):
            here = {line: cells[title, line] for line in lines if (title, line) in cells}
            for number, (line, found) in enumerate(here.items()):
                _draw_line(axes, found, styles[line], first, apart=APART * (number - (len(here) - 1) / 2))
            percent_axis(axes)
            _step_axis(axes, 0.8 * first, 1.1 * max(last, 2 * first))
        keys = [key(line, styles[line]) for line in lines]
        keys.append(Line2D([], [], color=INK, linestyle="", marker="|", markersize=8, label="unsolved at the end"))
        if any(member.status == "diverged" for member in members):
            keys.append(Line2D([], [], color=INK, linestyle="", marker="x", markersize=5, label="diverged"))
        legend(figure, keys)
    return figure


def _draw_line(axes: Axes, records: Sequence[Record], style: LineStyle, first: int, apart: float) -> None:
    """Draws one line, shifted up and to the right by `apart` points. Events before step `first` are drawn at it."""
    members, budget = cell_members(records), records[0].run.protocol.max_steps
    falls = unsolved(members, budget)
    end = max(member.watched_until(budget) for member in members)
    moved = axes.transData + ScaledTranslation(apart / 72, apart / 72, axes.figure.dpi_scale_trans)

    def left(step: float) -> float:
        return next((100 * share for at, share in reversed(falls) if at <= step), 100.0)

    def mark(steps: Sequence[float], marker: str, size: float) -> None:
        for step in steps:
            place = max(step, first), left(step)
            axes.plot(*place, marker, color=style.colour, markersize=size, transform=moved, clip_on=False)

    steps = [0.5 * first, *(at for at, _ in falls), end]
    axes.plot(steps, list(map(left, steps)), color=style.colour, drawstyle="steps-post", transform=moved)
    mark([at for at, _ in falls], style.marker, 4)
    others = [member for member in members if member.solved_at is None]
    mark([m.watched_until(budget) for m in others if m.status != "diverged"], "|", 9)
    mark([m.steps for m in others if m.status == "diverged"], "x", 5)


def _step_axis(axes: Axes, first: float, last: float) -> None:
    """A logarithmic axis: some mixers need a hundred steps, others ten thousand."""
    axes.set_xscale("log")
    axes.set_xlim(first, last)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if last < 400 * first else (1,)))  # as many labels as fit
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
