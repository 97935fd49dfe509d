"""Draws a machine: its states on a circle, and arrows with symbols between them."""

import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

from fwplab.extraction.mealy import Mealy
from fwplab.plots.style import INK, STYLE

Point = tuple[float, float]
RADIUS = 0.32


def machines(drawn: dict[str, Mealy]) -> Figure:
    """Draws machines side by side, each with its title.

    The states of a machine show their labels if all arrows into a state have the same label. Otherwise the arrows
    show symbol/label.
    """
    reach = {title: max(1.2, len(machine) * 0.22) for title, machine in drawn.items()}
    with matplotlib.rc_context(STYLE):
        sizes = [1.3 * (radius + 1) for radius in reach.values()]
        flat = max(map(len, drawn.values())) <= 2
        figure = Figure(figsize=(sum(sizes), 1.8 if flat else max(sizes) + 0.3))
        figure.set_label(f"Automata: {', '.join(drawn)}")
        panels = figure.subplots(1, len(drawn), squeeze=False, gridspec_kw={"width_ratios": sizes})[0]
        for axes, (title, machine) in zip(panels, drawn.items(), strict=True):
            _draw(axes, machine, reach[title])
            axes.set_title(title, fontweight="bold")
    return figure


def _draw(axes: Axes, machine: Mealy, radius: float) -> None:
    count = len(machine)
    angles = [math.pi - 2 * math.pi * state / count for state in range(count)]
    places = [(radius * math.cos(a), radius * math.sin(a)) if count > 1 else (0.0, 0.0) for a in angles]
    labels = machine.labels() or [str(state) for state in range(count)]
    for (x, y), label in zip(places, labels, strict=True):
        axes.add_patch(Circle((x, y), RADIUS, facecolor="none", edgecolor=INK, linewidth=0.9))
        axes.text(x, y, label, ha="center", va="center", fontsize=9)
    left = places[0][0] - RADIUS
    axes.add_patch(_line((left - 0.45, places[0][1]), (left, places[0][1]), 0))
    for (one, other), text in machine.arrows().items():
        if one == other:
            outwards = math.pi / 2 if count <= 2 else angles[one] - 0.9 * (one == 0)  # away from the arrow of the start
            _loop(axes, places[one], outwards, text)
        else:
            _arrow(axes, places[one], places[other], text)
    edge = radius + 1.25
    axes.set_xlim(-edge - 0.2, edge)
    axes.set_ylim(*((-0.8, 1.3) if count <= 2 else (-edge, edge)))
    axes.set_aspect("equal")
    axes.axis("off")


def _line(begin: Point, end: Point, bend: float) -> FancyArrowPatch:
    style = f"arc3,rad={bend}"
    line = FancyArrowPatch(begin, end, arrowstyle="-|>", mutation_scale=9, connectionstyle=style, shrinkA=0, shrinkB=0)
    line.set(color=INK, linewidth=0.8)
    return line


def _arrow(axes: Axes, one: Point, other: Point, text: str) -> None:
    """An arrow that bends to its left, so that it does not cover the arrow back."""
    (x1, y1), (x2, y2) = one, other
    length = math.hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    begin, end = (x1 + RADIUS * ux, y1 + RADIUS * uy), (x2 - RADIUS * ux, y2 - RADIUS * uy)
    axes.add_patch(_line(begin, end, -0.18))
    bend = 0.09 * (length - 2 * RADIUS) + 0.2
    axes.text((x1 + x2) / 2 - uy * bend, (y1 + y2) / 2 + ux * bend, text, ha="center", va="center", fontsize=8)


def _loop(axes: Axes, place: Point, angle: float, text: str) -> None:
    """An arrow from a state to itself, on the outside of the circle."""
    (x, y), spread = place, 0.55
    begin, end = ((x + RADIUS * math.cos(a), y + RADIUS * math.sin(a)) for a in (angle + spread, angle - spread))
    axes.add_patch(_line(begin, end, -1.6))
    far = RADIUS + 0.62
    axes.text(x + far * math.cos(angle), y + far * math.sin(angle), text, ha="center", va="center", fontsize=8)
