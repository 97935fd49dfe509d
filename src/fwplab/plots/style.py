"""The style of all figures: colours, markers, axes and legends. It changes no global state of matplotlib."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle

from fwplab.errors import UserError
from fwplab.languages import short_name
from fwplab.mixers import MIXERS


@dataclass(frozen=True)
class LineStyle:
    """How a mixer is drawn. The marker distinguishes mixers for readers who do not see the colours."""

    colour: str
    """The colour, as `#rrggbb`."""
    marker: str
    """The marker, by its name in matplotlib."""


LINE_STYLES: dict[str, LineStyle] = {
    "linear-transformer": LineStyle("#ae7bfc", "o"),
    "delta-net": LineStyle("#0072b2", "s"),
    "recurrent-delta": LineStyle("#d55e00", "^"),
    "srwm": LineStyle("#7f9a58", "D"),
    "lstm": LineStyle("#3faccd", "v"),
    "e-lstm": LineStyle("#94522b", "P"),
    "transformer": LineStyle("#745b64", "X"),
    "softmax-attention": LineStyle("#be8d97", "h"),
}
"""The colours differ for every kind of colour vision. Their medium lightness is legible on white and on black."""

SPARE_MARKERS = ("p", "<", ">", "d", "H", "8", "*")
INK = "#1b1f24"
"""The colour of text and lines; `to_svg` replaces it with the colour of the page's text."""
FONT = "DejaVu Sans"
"""This font comes with matplotlib, so that the layout is the same everywhere. `to_svg` uses the page's font instead."""

STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "path.simplify_threshold": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "fwplab",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name does not start a formula
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": 8,
    "ytick.major.width": 0.6,
}

PANEL_COLUMNS = 3


def line_style(mixer: str) -> LineStyle:
    """The style of a mixer. For a mixer that is not in `LINE_STYLES`, it is computed from a hash of the name.

    A model with another start ("delta-net, weak writes") has the colour of its mixer, and a marker of the start.
    """
    if mixer in LINE_STYLES:
        return LINE_STYLES[mixer]
    mixer, _, start = mixer.partition(", ")
    if start:
        return LineStyle(line_style(mixer).colour, SPARE_MARKERS[sum(start.encode()) % len(SPARE_MARKERS)])
    number = int.from_bytes(blake2b(mixer.encode(), digest_size=4).digest(), "big")
    colours = [known.colour for known in LINE_STYLES.values()]
    marker = SPARE_MARKERS[number % len(SPARE_MARKERS)]
    return LineStyle(colours[number // len(SPARE_MARKERS) % len(colours)], marker)


def line_styles(lines: Sequence[str]) -> dict[str, LineStyle]:
    """A style for each line. Models have their own styles. If some line is not a model, styles are assigned in turn."""
    if {line.partition(", ")[0] for line in lines} <= set(MIXERS.names()):
        return {line: line_style(line) for line in lines}
    colours = [known.colour for known in LINE_STYLES.values()]
    markers = [*(known.marker for known in LINE_STYLES.values()), *SPARE_MARKERS]
    return {line: LineStyle(colours[i % len(colours)], markers[i % len(markers)]) for i, line in enumerate(lines)}


def marker_points(mixer: str) -> str:
    """The outline of a mixer's marker, as the points of an SVG polygon with coordinates from -1 to 1."""
    style = MarkerStyle(line_style(mixer).marker)
    outline = np.asarray(style.get_path().transformed(style.get_transform()).to_polygons()[0])
    return " ".join(f"{x:.2f},{-y:.2f}" for x, y in outline / np.abs(outline).max())


def percent_axis(axes: Axes) -> None:
    """Sets a vertical axis from 0 to 100, with room for markers at both ends."""
    axes.set_ylim(-4, 104)
    axes.set_yticks([0, 50, 100])
    axes.yaxis.grid(color=INK, alpha=0.15, linewidth=0.5)
    axes.set_axisbelow(True)


def legend(figure: Figure, keys: Sequence[Artist]) -> None:
    """Adds a legend above the panels, in as many columns as fit."""
    letters = [len(str(each.get_label())) for each in keys]

    def fits(columns: int) -> bool:
        inches = [0.075 * int(max(column)) + 0.6 for column in np.array_split(letters, columns)]
        return sum(inches) <= figure.get_figwidth()

    columns = next((number for number in range(len(keys), 1, -1) if fits(number)), 1)
    figure.legend(handles=list(keys), loc="outside upper left", ncols=columns, columnspacing=1.4)


def key(label: str, style: LineStyle) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], color=style.colour, marker=style.marker, markersize=5, label=label)


def names(cells: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The first and the second names of cells, in their order and without repetition."""
    firsts, seconds = zip(*cells, strict=True)
    return list(dict.fromkeys(firsts)), list(dict.fromkeys(seconds))


def measured_names(cells: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The same as `names`. Raises `UserError` if there are no cells, because the study has measured nothing."""
    if not cells:
        raise UserError("nothing is measured yet of these checkpoints; fwplab study run NAME trains and measures")
    return names(cells)


def panelled(titles: Sequence[str], x: str, y: str, *, same_y: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title.

    x, y: the labels of the axes.
    same_y: whether all panels share the vertical axis.
    """
    columns = 2 if len(titles) == 4 else min(PANEL_COLUMNS, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure = Figure(figsize=(3.25 * columns + (1.2 if columns == 1 else 0), 2.6 * rows + 0.7))
    panels = list(figure.subplots(rows, columns, sharey=same_y, squeeze=False).flat)
    for axes, title in zip(panels, titles, strict=False):
        axes.set_title(short_name(title), fontweight="bold", loc="left")
    for axes in panels[len(titles) :]:
        axes.set_visible(False)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    return figure, panels[: len(titles)]
