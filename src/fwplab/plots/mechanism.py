"""What probes found, a panel a language: what is held where, what it causes, how it moves, what it is good for."""

from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fwplab.mixers.srwm import BLOCKS
from fwplab.plots.style import INK, STYLE, key, legend, look, measured_names, panelled, percent_axis
from fwplab.probes.eigenvalues import EDGES
from fwplab.probes.freezing import AFTER
from fwplab.probes.linear import WINDOWS
from fwplab.studies.mechanism import Cell
from fwplab.studies.probing import best, best_place

Panel = Callable[[Axes, Sequence[Cell]], None]


def _drawn(cells: Sequence[Cell], panel: Panel, x: str, y: str, label: str, keys: Sequence[Line2D] = ()) -> Figure:
    """A figure with a panel for each language; `UserError` where nothing has been measured."""
    languages, _ = measured_names([(cell.language, cell.mixer) for cell in cells])
    with matplotlib.rc_context(STYLE):
        figure, panels = panelled(languages, x, y, same_y=bool(y))
        figure.set_label(f"{label} on {', '.join(languages)}")
        for axes, language in zip(panels, languages, strict=True):
            panel(axes, [cell for cell in cells if cell.language == language])
        if keys:
            legend(figure, keys)
    return figure


def linear_probes(cells: Sequence[Cell]) -> Figure:
    """A row a mixer: right positions beyond the lengths of training, beside random labels and the untrained model.

    Of several counters the one that is read worst is drawn.
    """
    keys = [
        Line2D([], [], color=INK, marker="o", linestyle="", markersize=5, label="trained"),
        Line2D([], [], color=INK, marker="o", linestyle="", markersize=5, fillstyle="none", label="untrained"),
        Line2D([], [], color=INK, marker="|", linestyle="", markersize=7, label="random labels"),
        Line2D([], [], color=INK, linestyle=":", label="most frequent value"),
    ]
    first, last = WINDOWS[-1]
    return _drawn(cells, _probed, f"positions {first}-{last} read off right (%)", "", "Linear probes", keys)


def _probed(axes: Axes, cells: Sequence[Cell]) -> None:
    end = WINDOWS[-1][1]
    for row, cell in enumerate(cells):
        places = [(best_place(cell, target), target) for target in cell.names("guess")]
        place, target = min(places, key=lambda each: cell.median(end, f"{each[0]}/right") or 0.0)
        values = [cell.median(end, f"{place}/right"), *(best(cell, target, k, end) for k in ("untrained", "control"))]
        right, untrained, control = (np.nan if value is None else 100 * value for value in values)
        colour = look(cell.mixer).colour
        axes.plot([control, right], [row, row], color=colour, linewidth=0.8, alpha=0.6)
        axes.plot(right, row, "o", color=colour, markersize=6, clip_on=False)
        axes.plot(untrained, row, "o", color=colour, markersize=8, fillstyle="none", clip_on=False)
        axes.plot(control, row, "|", color=colour, markersize=8, clip_on=False)
        guess = cell.median(end, f"{target}/guess")
        if guess is not None:
            axes.plot([100 * guess] * 2, [row - 0.4, row + 0.4], color=INK, linestyle=":", alpha=0.7)
    _rows(axes, cells)


def patches(cells: Sequence[Cell]) -> Figure:
    """A row a mixer: the share of labels that each layer's state moves, its number as the marker, mean over cuts."""
    keys = [
        Line2D([], [], linestyle="", label="a number: the state of that layer"),
        Line2D([], [], color=INK, marker=".", linestyle="", markersize=5, label="of one head"),
    ]
    return _drawn(cells, _patched, "labels that follow the other word (%)", "", "Patched states", keys)


def _patched(axes: Axes, cells: Sequence[Cell]) -> None:
    for row, cell in enumerate(cells):
        colour = look(cell.mixer).colour
        for place in cell.names("moved"):
            cuts = cell.lengths(f"{place}/moved")
            value = 100 * float(np.mean([cell.values[cut, f"{place}/moved"].median for cut in cuts]))
            layer = place.removeprefix("layer ").split()[0]
            if "head" in place:
                axes.plot(value, row + 0.28, ".", color=colour, markersize=4, alpha=0.8, clip_on=False)
            elif place != "all":
                axes.text(value, row, layer, color=colour, fontweight="bold", ha="center", va="center")
    _rows(axes, cells)


def _rows(axes: Axes, cells: Sequence[Cell]) -> None:
    """Mixers from the top down, shares from left to right."""
    axes.set_yticks(range(len(cells)), [cell.mixer for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xlim(-4, 104)
    axes.set_xticks([0, 50, 100])
    axes.xaxis.grid(color=INK, alpha=0.15, linewidth=0.5)


def eigenvalue_histograms(cells: Sequence[Cell]) -> Figure:
    """A strip a mixer and symbol: how many eigenvalues have this real part, on a logarithmic scale of darkness."""
    return _drawn(cells, _strips, "real part of an eigenvalue of the step", "", "Eigenvalues")


def _strips(axes: Axes, cells: Sequence[Cell]) -> None:
    rows = [(cell, symbol) for cell in cells for symbol in cell.names("negative")]
    bins = len(EDGES) - 1
    for row, (cell, symbol) in enumerate(rows):
        for place in range(bins):
            value = cell.median(place, f"{symbol}/share")
            if value:
                depth = 1 + np.log10(max(value, 1e-4)) / 4  # 0.01 % is white, all of them the full colour
                left, width = EDGES[place], EDGES[place + 1] - EDGES[place]
                colour = look(cell.mixer).colour
                axes.barh(row, width, 0.86, left, color=colour, alpha=0.12 + 0.88 * depth, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_yticks(range(len(rows)), [f"{cell.mixer} {symbol}" for cell, symbol in rows], fontsize=6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(EDGES[0], EDGES[-1])


def freezing_curves(cells: Sequence[Cell]) -> Figure:
    """Right labels against the step after which all states are frozen; at the right, with one part never changed."""
    _, mixers = measured_names([(cell.language, cell.mixer) for cell in cells])
    keys = [key(mixer, look(mixer)) for mixer in mixers]
    keys.append(Line2D([], [], color=INK, linestyle=":", alpha=0.7, label="most frequent label"))
    return _drawn(
        cells, _frozen, "frozen after this step | part held from the start", "labels right (%)", "Frozen", keys
    )


def _frozen(axes: Axes, cells: Sequence[Cell]) -> None:
    """Mixers stand side by side at each step, so that none hides another."""
    held = {name for cell in cells for _, name in cell.values if name.startswith("held ")}
    columns = {name: len(AFTER) + 1 + place for place, name in enumerate(sorted(held, key=_part_order))}
    for number, cell in enumerate(cells):
        style, shift = look(cell.mixer), 0.6 * ((number + 0.5) / len(cells) - 0.5)
        shares = [100 * cell.values[after, "frozen"].median for after in AFTER]
        places = [place + shift for place in range(len(AFTER))]
        axes.plot(places, shares, style.marker + "-", color=style.colour, linewidth=0.8, markersize=4, clip_on=False)
        for name, place in columns.items():
            if (0, name) in cell.values:
                share = 100 * cell.values[0, name].median
                axes.plot(place, share, style.marker, color=style.colour, markersize=5, clip_on=False)
    guess = 100 * cells[0].values[0, "guess"].median
    axes.axhline(guess, color=INK, linestyle=":", alpha=0.7)
    axes.axvline(len(AFTER), color=INK, linewidth=0.6, alpha=0.4)
    texts = [*map(str, AFTER), *(name.removeprefix("held ") for name in columns)]
    axes.set_xticks([*range(len(AFTER)), *columns.values()], texts)
    for tick in axes.get_xticklabels()[len(AFTER) :]:
        tick.set(rotation=60, fontsize=7)
    percent_axis(axes)


def _part_order(name: str) -> tuple[int, str]:
    """Parts of one mixer beside each other, in the order of their equations."""
    known = ("W", "fed back", *BLOCKS, "hidden", "cell")
    part = name.removeprefix("held ")
    return (known.index(part) if part in known else len(known), part)
