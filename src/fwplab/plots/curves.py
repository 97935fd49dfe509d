"""The figure of learning curves."""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fwplab.languages import short_name
from fwplab.plots.style import INK, STYLE, LineStyle, line_style, names, percent_axis
from fwplab.tables.rows import by_cell, cell_members
from fwplab.training.record import Check, Member, Record

POINTS_A_LINE = 400


def learning_curves(records: Sequence[Record]) -> Figure:
    """Draws the accuracy against training steps, with a row for each language and a column for each mixer.

    Accuracy is the share of strings with every label right. Each seed has a solid line for Bin0 and a dashed line for
    Bin1. A marker shows where its training ended, a cross where it diverged.
    """
    cells = by_cell(records)
    languages, mixers = names(cells)
    with matplotlib.rc_context(STYLE):
        width = min(max(9.2 / len(mixers), 1.5), 3.2)
        figure = Figure(figsize=(width * len(mixers) + 0.8, max(1.35 * len(languages), 2) + 0.9))
        figure.set_label(f"Learning curves of {', '.join(mixers)} on {', '.join(languages)}")
        grid = figure.subplots(len(languages), len(mixers), sharex="row", sharey=True, squeeze=False)
        for axes_row, language in zip(grid, languages, strict=True):
            budget = max(record.run.protocol.max_steps for record in records if record.run.language == language)
            for axes, mixer in zip(axes_row, mixers, strict=True):
                for member in cell_members(cells.get((language, mixer), [])):
                    _draw_member(axes, member, line_style(mixer))
                percent_axis(axes)
                axes.set_xlim(0, max(budget, 1))
                if (language, mixer) not in cells:
                    axes.text(0.5, 0.5, "not run", ha="center", transform=axes.transAxes, alpha=0.6)
                axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes_row[0].set_ylabel(short_name(language))
        for axes, mixer in zip(grid[0], mixers, strict=True):
            axes.set_title(mixer, color=line_style(mixer).colour, fontweight="bold")
        figure.supxlabel("training step", fontsize=9)
        figure.supylabel("strings right everywhere (%)", fontsize=9)
        keys = [
            Line2D([], [], color=INK, label="Bin0, lengths of training"),
            Line2D([], [], color=INK, linestyle="--", label="Bin1, longer"),
            Line2D([], [], color=INK, linestyle="", marker="x", label="diverged"),
        ]
        any_diverged = any(m.status == "diverged" for record in records for m in record.members)
        figure.legend(handles=keys if any_diverged else keys[:2], loc="outside upper left", ncols=3)
    return figure


def _draw_member(axes: Axes, member: Member, style: LineStyle) -> None:
    checks = _thinned(member.checks)
    steps = [check.step for check in checks]
    bin0, bin1 = [100 * c.bin0_accuracy for c in checks], [100 * c.bin1_accuracy for c in checks]
    for shares, line in ((bin0, "-"), (bin1, (0, (3, 1.5)))):
        axes.plot(steps, shares, color=style.colour, linestyle=line, linewidth=1, alpha=0.85)
        diverged = member.status == "diverged"
        colour, marker = (INK, "x") if diverged else (style.colour, style.marker)
        axes.plot(steps[-1:], shares[-1:], color=colour, marker=marker, markersize=4, clip_on=False)


def _thinned(checks: tuple[Check, ...]) -> list[Check]:
    """About `POINTS_A_LINE` checks: from each interval those with the lowest and the highest accuracies."""
    stretch = max(1, -(-4 * len(checks) // POINTS_A_LINE))
    if stretch <= 4:
        return list(checks)
    kept = {checks[0], checks[-1]}
    for start in range(0, len(checks), stretch):
        part = checks[start : start + stretch]
        for extreme in (min, max):
            kept.add(extreme(part, key=lambda check: check.bin0_accuracy))
            kept.add(extreme(part, key=lambda check: check.bin1_accuracy))
    return sorted(kept, key=lambda check: check.step)
