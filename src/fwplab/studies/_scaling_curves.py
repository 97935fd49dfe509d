"""The figure of the study `scaling`: accuracy, norm of the state and saturated units by length of string."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from fwplab.plots.style import INK, STYLE, key, legend, line_style, measured_names, percent_axis
from fwplab.studies.scaling import LENGTHS, ScalingRow
from fwplab.tables.statistics import Spread

LANGUAGES_A_ROW = 4
PANELS = {"strings right\neverywhere (%)": 1.9, "norm of\nthe state": 1.5, "saturated\nunits (%)": 0.9}
"""The panels of a language from top to bottom, and their heights in inches."""
APART = 0.26
"""How far the mixers at one length are spread, in decades, so that no interval hides another."""

TOO_HIGH = 1e30
"""The value that is drawn for an infinite norm. It lies above every panel."""


def scaling_curves(cells: Sequence[ScalingRow]) -> Figure:
    """Draws three panels for each language against the length of string, with a line for each mixer.

    - Strings with every label right: the mean over seeds, with its 95 % confidence interval for new seeds
      (`seeds_interval`), and the chance level.
    - The norm of the state after the last position: the median over seeds, with a bar from the lowest to the highest. A
      bar that leaves the panel belongs to a seed whose state overflowed or is much larger than all medians.
    - The share of saturated units (|tanh| above 0.99) after the last position, in the same way.

    A hollow marker means that some seed has a wrong string of this length.
    """
    languages, mixers = measured_names([(cell.language, cell.mixer) for cell in cells])
    with matplotlib.rc_context(STYLE):
        figure, columns = _columns(languages)
        figure.set_label(
            f"Accuracy, norm of the state and saturated units by length of string on {', '.join(languages)}"
        )
        figure.supxlabel(f"length of string (rule: {cells[0].rule})", fontsize=9)
        for column, language in zip(columns, languages, strict=True):
            _draw_language(*column, [cell for cell in cells if cell.language == language])
        _scale(columns[0][1], cells)
        keys = [key(mixer, line_style(mixer)) for mixer in mixers]
        keys.append(Line2D([], [], color=INK, linestyle=":", alpha=0.7, label="best guess"))
        for marker, label in (
            ("o", "hollow: some string is wrong"),
            ("|", "95 % interval; below, lowest to highest seed"),
        ):
            keys.append(Line2D([], [], color=INK, linestyle="", marker=marker, fillstyle="none", label=label))
        legend(figure, keys)
    return figure


def _columns(languages: Sequence[str]) -> tuple[Figure, list[tuple[Axes, Axes, Axes]]]:
    """A figure with a column of panels for each language. Panels of the same kind share their axes."""
    across = min(LANGUAGES_A_ROW, len(languages))
    down = math.ceil(len(languages) / across)
    heights = [*PANELS.values()] * down
    figure = Figure(figsize=(2.2 * across + 0.95, sum(heights) + 0.45 * down + 0.8))
    grid = figure.subplots(len(heights), across, sharex=True, squeeze=False, height_ratios=heights)
    columns = [tuple(column) for rows in np.vsplit(grid, down) for column in rows.T]
    for place, column in enumerate(columns):
        for axes, label in zip(column, PANELS, strict=True):
            axes.set_visible(place < len(languages))
            axes.tick_params(labelleft=place % across == 0, labelbottom=axes is column[-1])
            axes.set_ylabel(label if place % across == 0 else "")
        column[1].sharey(columns[0][1])
        column[1].loglog()
    for (accuracy, _, _), language in zip(columns, languages, strict=False):
        accuracy.set_title(language, fontweight="bold", loc="left")
    columns[0][0].set_xlim(LENGTHS[0] / 1.5, LENGTHS[-1] * 1.5)
    return figure, columns[: len(languages)]


def _draw_language(accuracy: Axes, norm: Axes, saturation: Axes, cells: Sequence[ScalingRow]) -> None:
    percent_axis(accuracy)
    percent_axis(saturation)
    norm.yaxis.grid(color=INK, alpha=0.15, linewidth=0.5)
    guesses = {reach.length: 100 * reach.chance for cell in cells for reach in cell.reaches}
    accuracy.plot(list(guesses), list(guesses.values()), color=INK, linestyle=":", alpha=0.7)
    for number, cell in enumerate(cells):
        shift = 10 ** (APART * ((number + 0.5) / len(cells) - 0.5))
        means = np.array([(reach.mean, *reach.interval) for reach in cell.reaches])
        norms = np.array([_median_and_ends(reach.norm) for reach in cell.reaches])
        shares = np.array([_median_and_ends(reach.saturation) for reach in cell.reaches if reach.saturation])
        _draw_line(accuracy, cell, 100 * means, shift)
        _draw_line(norm, cell, np.minimum(norms, TOO_HIGH), shift)
        if len(shares):
            _draw_line(saturation, cell, 100 * shares, shift)
    if not saturation.lines:
        saturation.text(0.5, 0.5, "no such units", ha="center", transform=saturation.transAxes, alpha=0.6)


def _median_and_ends(spread: Spread) -> tuple[float, float, float]:
    return spread.median, spread.lowest, spread.best


def _draw_line(axes: Axes, cell: ScalingRow, values: NDArray[np.float64], shift: float) -> None:
    """Draws one mixer, with its lengths multiplied by `shift`.

    values: the marker, and the lower and upper end of the bar, at each length, `[lengths, 3]`.
    """
    style = line_style(cell.mixer)
    lengths = [shift * reach.length for reach in cell.reaches]
    middles, lows, highs = values.T
    axes.vlines(lengths, lows, highs, color=style.colour, linewidth=1.2, alpha=0.5)
    axes.plot(lengths, middles, color=style.colour, linewidth=0.8, alpha=0.6)
    for length, middle, reach in zip(lengths, middles, cell.reaches, strict=True):
        fill = style.colour if reach.mean == 1 else "none"
        axes.plot(length, middle, style.marker, color=style.colour, markerfacecolor=fill, markersize=4)


def _scale(axes: Axes, cells: Sequence[ScalingRow]) -> None:
    """Sets the limits of the panels of norms. The highest seed does not count, because its norm may be extreme."""
    norms = [norm for cell in cells for reach in cell.reaches for norm in (reach.norm.lowest, reach.norm.median)]
    drawn = [norm for norm in norms if 0 < norm < math.inf] or [1.0]
    axes.set_ylim(min(drawn) / 2, max(drawn) * 2)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        # Ticks at powers of ten, and between them if the axis spans few of them.
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,), numticks=6))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
