"""Figures of records, for a page and for a paper: vectors, one look a mixer everywhere, no global state."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from fwplab.errors import UserError
from fwplab.files import replaced
from fwplab.record import Check, Member, Record
from fwplab.run import Rule
from fwplab.statistics import spread
from fwplab.table import Row, accuracy, cell_members, guess


@dataclass(frozen=True)
class Look:
    """How a mixer is drawn: a colour and, for whoever does not see it, a marker."""

    colour: str
    marker: str


LOOKS: dict[str, Look] = {
    "linear-transformer": Look("#ae7bfc", "o"),
    "delta-net": Look("#0072b2", "s"),
    "recurrent-delta": Look("#d55e00", "^"),
    "srwm": Look("#7f9a58", "D"),
    "lstm": Look("#3faccd", "v"),
    "e-lstm": Look("#94522b", "P"),
    "transformer": Look("#745b64", "X"),
    "softmax-attention": Look("#be8d97", "h"),
}
"""Far apart for every kind of colour vision, and of middling lightness: they read on white and on black."""

SPARE_MARKERS = ("p", "<", ">", "d", "H", "8", "*")
INK = "#1b1f24"
"""The colour of text and lines; `to_svg` turns it into the colour of the page's text."""
CELL = "#0072b2"
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that the layout is the same everywhere; a page shows its own font instead."""
FORMATS = (".svg", ".pdf", ".png")
SVG = "{http://www.w3.org/2000/svg}"

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
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": 8,
    "ytick.major.width": 0.6,
}

POINTS_A_LINE = 400
PANEL_COLUMNS = 3


def look(mixer: str) -> Look:
    """The look of a mixer; one without a place in `LOOKS` gets its own from its name, the same every time."""
    if mixer in LOOKS:
        return LOOKS[mixer]
    number = int.from_bytes(blake2b(mixer.encode(), digest_size=4).digest(), "big")
    colours = [known.colour for known in LOOKS.values()]
    marker = SPARE_MARKERS[number % len(SPARE_MARKERS)]
    return Look(colours[number // len(SPARE_MARKERS) % len(colours)], marker)


def marker_points(mixer: str) -> str:
    """The outline of a mixer's marker as the points of an SVG polygon in a square from -1 to 1."""
    style = MarkerStyle(look(mixer).marker)
    outline = np.asarray(style.get_path().transformed(style.get_transform()).to_polygons()[0])
    return " ".join(f"{x:.2f},{-y:.2f}" for x, y in outline / np.abs(outline).max())


def learning_curves(records: Sequence[Record]) -> Figure:
    """Whole-string accuracy against training steps: a row a language, a column a mixer, a line a seed.

    Bin0 is solid, Bin1 dashed; a marker shows where a seed ended, a cross where it diverged.
    """
    cells = _cells(records)
    languages, mixers = _languages(records), _mixers(records)
    with matplotlib.rc_context(STYLE):
        width = min(max(9.2 / len(mixers), 1.5), 3.2)
        figure = Figure(figsize=(width * len(mixers) + 0.8, 1.35 * len(languages) + 0.9))
        figure.set_label(f"Learning curves of {', '.join(mixers)} on {', '.join(languages)}")
        grid = figure.subplots(len(languages), len(mixers), sharex="row", sharey=True, squeeze=False)
        for axes_row, language in zip(grid, languages, strict=True):
            budget = max(r.run.protocol.max_steps for mixer in mixers for r in cells[language, mixer])
            for axes, mixer in zip(axes_row, mixers, strict=True):
                for member in cell_members(cells[language, mixer]):
                    _draw_member(axes, member, look(mixer))
                _percent_axis(axes)
                axes.set_xlim(0, max(budget, 1))
                if not cells[language, mixer]:
                    axes.text(0.5, 0.5, "not run", ha="center", transform=axes.transAxes, alpha=0.6)
                axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes_row[0].set_ylabel(language)
        for axes, mixer in zip(grid[0], mixers, strict=True):
            axes.set_title(mixer, color=look(mixer).colour, fontweight="bold")
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


def accuracy_by_length(records: Sequence[Record], rule: Rule) -> Figure:
    """Whole-string accuracy on strings that no selection saw, by their length: a panel a language.

    Under `rule`: a small dot a seed, a thin line from the lowest to the highest, a marker at the median.
    Lengths of training are shaded; the dotted line is the better of two guesses.
    """
    cells = _cells(records)
    languages, mixers = _languages(records), _mixers(records)
    columns = min(PANEL_COLUMNS, len(languages))
    rows = math.ceil(len(languages) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.25 * columns + (1.2 if columns == 1 else 0), 2.6 * rows + 0.7))
        figure.set_label(f"Accuracy by length of string on {', '.join(languages)}, rule: {rule}")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
        for axes, language in zip(panels, languages, strict=False):
            present = [mixer for mixer in mixers if cells[language, mixer]]
            _draw_lengths(axes, {mixer: cells[language, mixer] for mixer in present}, rule)
            axes.set_title(language, fontweight="bold", loc="left")
        for axes in list(panels)[len(languages) :]:
            axes.set_visible(False)
        figure.supxlabel("length of string", fontsize=9)
        figure.supylabel("strings right everywhere (%)", fontsize=9)
        keys: list[Line2D | Patch] = [
            Line2D([], [], color=look(m).colour, marker=look(m).marker, markersize=5, label=m) for m in mixers
        ]
        keys.append(Line2D([], [], color=INK, linestyle=":", alpha=0.7, label="best guess"))
        keys.append(Patch(facecolor=INK, alpha=0.08, label="lengths of training"))
        figure.legend(handles=keys, loc="outside upper left", ncols=min(6, len(keys)), columnspacing=1.4)
    return figure


def solve_rate_heatmap(rows: Sequence[Row]) -> Figure:
    """How many seeds solve each cell: a row a language, a column a mixer, darker where more do."""
    languages = list(dict.fromkeys(row.language for row in rows))
    mixers = list(dict.fromkeys(row.mixer for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.05 * len(mixers) + 1.4, 0.42 * len(languages) + 0.9))
        figure.set_label("Seeds that solve each language, of all seeds of the cell")
        axes = figure.subplots()
        for row in rows:
            x, y = mixers.index(row.mixer), languages.index(row.language)
            rate = row.solved / row.seeds
            axes.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, facecolor=CELL, alpha=rate, linewidth=0))
            frame = Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, alpha=0.25)
            frame.set_linewidth(0.5)
            axes.add_patch(frame)
            ink = "#ffffff" if rate == 1 else INK
            axes.text(x, y, f"{row.solved}/{row.seeds}", ha="center", va="center", color=ink)
        axes.set_xlim(-0.5, len(mixers) - 0.5)
        axes.set_ylim(len(languages) - 0.5, -0.5)
        axes.set_xticks(range(len(mixers)), [mixer.replace("-", "-\n") for mixer in mixers])
        axes.set_yticks(range(len(languages)), languages)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element to stand in a page: text stays text, ink takes the page's text colour.

    Ids begin with a digest of the drawing, so that several figures fit in one page; the same figure gives the
    same element on every day.
    """
    drawn = _rendered(figure)
    prefix = "f" + blake2b(drawn.encode(), digest_size=5).hexdigest()
    root = ElementTree.fromstring(drawn)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.attrib = {name: _inline(name, value, prefix) for name, value in attributes.items()}
        element.tail = None
        if element.tag != "text":
            element.text = None
    width, height = (4 / 3 * float(root.attrib[side].removesuffix("pt")) for side in ("width", "height"))
    root.attrib |= {"xmlns": SVG[1:-1], "width": f"{width:.0f}", "height": f"{height:.0f}"}
    root.attrib |= {"role": "img", "aria-label": str(figure.get_label()), "stroke-linejoin": "round"}
    return ElementTree.tostring(root, encoding="unicode")


def save(figure: Figure, path: Path) -> None:
    """Writes a figure whole or not at all, as the suffix says: .svg, .pdf or .png."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"no figure can be written as {path.name!r}; choose a suffix from: {', '.join(FORMATS)}")
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[suffix]
    with replaced(path) as temporary, matplotlib.rc_context(STYLE):
        figure.savefig(temporary, format=suffix[1:], dpi=200, metadata=undated)


def _rendered(figure: Figure) -> str:
    drawn = StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return drawn.getvalue()


def _inline(name: str, value: str, prefix: str) -> str:
    """An attribute for a page that holds other drawings too, without needless digits."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href" or "url(#" in value:
        value = value.replace("#", f"#{prefix}-", 1)
    if name in ("d", "x", "y", "transform"):
        return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return value.replace(INK, "currentColor").replace(f"'{FONT}'", "system-ui")


def _draw_member(axes: Axes, member: Member, style: Look) -> None:
    checks = _thinned(member.checks)
    steps = [check.step for check in checks]
    bin0, bin1 = [100 * c.bin0_accuracy for c in checks], [100 * c.bin1_accuracy for c in checks]
    for shares, line in ((bin0, "-"), (bin1, (0, (3, 1.5)))):
        axes.plot(steps, shares, color=style.colour, linestyle=line, linewidth=1, alpha=0.85)
        diverged = member.status == "diverged"
        colour, marker = (INK, "x") if diverged else (style.colour, style.marker)
        axes.plot(steps[-1:], shares[-1:], color=colour, marker=marker, markersize=4, clip_on=False)


def _thinned(checks: tuple[Check, ...]) -> list[Check]:
    """At most `POINTS_A_LINE` checks or so: of every stretch those where an accuracy is lowest or highest."""
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


def _draw_lengths(axes: Axes, cells: dict[str, list[Record]], rule: Rule) -> None:
    """One panel; the mixers stand side by side within a window of lengths, so that none hides another."""
    first = next(iter(cells.values()))[0]
    windows = _windows(first)
    trained = max((split.longest for split in first.splits if split.split == "train"), default=0)
    axes.axvspan(-0.5, sum(longest <= trained for _, longest in windows) - 0.5, color=INK, alpha=0.08, linewidth=0)
    for place, window in enumerate(windows):
        level = 100 * guess(first, "test", window)
        axes.plot([place - 0.45, place + 0.45], [level, level], color=INK, linestyle=":", alpha=0.7)
    for number, (mixer, records) in enumerate(cells.items()):
        shift = 0.7 * ((number + 0.5) / len(cells) - 0.5)
        places = [place + shift for place in range(len(windows))]
        scores = [[100 * accuracy(m, rule, "test", w) for m in cell_members(records)] for w in windows]
        _draw_spreads(axes, places, scores, look(mixer))
    labels = [str(low) if low == high else f"{low}-{high}" for low, high in windows]
    axes.set_xticks(range(len(windows)), labels)
    axes.set_xlim(-0.5, len(windows) - 0.5)
    _percent_axis(axes)


def _draw_spreads(axes: Axes, places: list[float], scores: list[list[float]], style: Look) -> None:
    spreads = [spread(seeds) for seeds in scores]
    axes.plot(places, [s.median for s in spreads], color=style.colour, linewidth=0.8, alpha=0.6)
    axes.vlines(places, [s.lowest for s in spreads], [s.best for s in spreads], color=style.colour, linewidth=1)
    for place, seeds in zip(places, scores, strict=True):
        axes.plot([place] * len(seeds), seeds, ".", color=style.colour, markersize=3.5, clip_on=False)
    medians = [s.median for s in spreads]
    axes.plot(places, medians, style.marker, color=style.colour, markersize=5, clip_on=False, zorder=3)


def _percent_axis(axes: Axes) -> None:
    axes.set_ylim(-4, 104)
    axes.set_yticks([0, 50, 100])
    axes.yaxis.grid(color=INK, alpha=0.15, linewidth=0.5)
    axes.set_axisbelow(True)


def _windows(record: Record) -> list[tuple[int, int]]:
    return sorted({(split.shortest, split.longest) for split in record.splits if split.split == "test"})


def _cells(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """The records of each cell, by language and mixer."""
    cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[record.run.language, record.run.mixer_name].append(record)
    return cells


def _languages(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record.run.language for record in records))


def _mixers(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record.run.mixer_name for record in records))
