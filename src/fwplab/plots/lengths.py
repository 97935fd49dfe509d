"""The figure of accuracy by length of string."""

import statistics
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fwplab.plots.style import INK, STYLE, LineStyle, key, legend, line_style, names, panelled, percent_axis
from fwplab.tables.rows import by_cell, cell_members, count, guess
from fwplab.tables.statistics import seeds_interval
from fwplab.training.record import Record
from fwplab.training.run import Rule


def accuracy_by_length(records: Sequence[Record], rule: Rule) -> Figure:
    """Draws the accuracy on the test sets by length of string, with a panel for each language.

    Accuracy is the share of strings with every label right, of the checkpoints of `rule`. Each seed has a small dot. A
    marker shows their mean, with its 95 % confidence interval for a new seed (`seeds_interval`). Lengths of training
    are shaded. The dotted line is the chance level.
    """
    cells = by_cell(records)
    languages, mixers = names(cells)
    with matplotlib.rc_context(STYLE):
        figure, panels = panelled(languages, "length of string", "strings right everywhere (%)")
        figure.set_label(f"Accuracy by length of string on {', '.join(languages)}, rule: {rule}")
        for axes, language in zip(panels, languages, strict=True):
            present = [mixer for mixer in mixers if (language, mixer) in cells]
            _draw_lengths(axes, {mixer: cells[language, mixer] for mixer in present}, rule)
        keys: list[Line2D | Patch] = [key(mixer, line_style(mixer)) for mixer in mixers]
        keys.append(Line2D([], [], color=INK, linestyle=":", alpha=0.7, label="best guess"))
        keys.append(Patch(facecolor=INK, alpha=0.08, label="lengths of training"))
        legend(figure, keys)
    return figure


def _draw_lengths(axes: Axes, cells: dict[str, list[Record]], rule: Rule) -> None:
    """Draws one panel. The mixers are side by side at each range of lengths, so that none hides another."""
    first = next(iter(cells.values()))[0]
    windows = _windows(first)
    trained = max((split.longest for split in first.splits if split.split == "train"), default=0)
    axes.axvspan(-0.5, sum(shortest <= trained for shortest, _ in windows) - 0.5, color=INK, alpha=0.08, linewidth=0)
    for place, window in enumerate(windows):
        level = 100 * guess(first, "test", window)
        axes.plot([place - 0.45, place + 0.45], [level, level], color=INK, linestyle=":", alpha=0.7)
    for number, (mixer, records) in enumerate(cells.items()):
        shift = 0.7 * ((number + 0.5) / len(cells) - 0.5)
        places = [place + shift for place in range(len(windows))]
        members = cell_members(records)
        counts = [[count(member, rule, "test", window) for member in members] for window in windows]
        _draw_seeds(axes, places, counts, line_style(mixer))
    labels = [str(low) if low == high else f"{low}-{high}" for low, high in windows]
    axes.set_xticks(range(len(windows)), labels)
    axes.set_xlim(-0.5, len(windows) - 0.5)
    percent_axis(axes)


def _draw_seeds(axes: Axes, places: list[float], counts: list[list[tuple[int, int]]], style: LineStyle) -> None:
    """Draws the seeds of one mixer.

    counts: the numbers of right and of all strings, for each range of lengths and each seed.
    """
    means = []
    for place, seeds in zip(places, counts, strict=True):
        # A member without a checkpoint counts as all wrong, on as many strings as the other members.
        given = max(strings for _, strings in seeds) or 1
        right = [correct for correct, _ in seeds]
        low, high = seeds_interval(right, [given] * len(seeds))
        axes.vlines(place, 100 * low, 100 * high, color=style.colour, linewidth=1)
        shares = [100 * correct / given for correct in right]
        axes.plot([place] * len(seeds), shares, ".", color=style.colour, markersize=3.5, clip_on=False)
        means.append(statistics.fmean(shares))
    axes.plot(places, means, color=style.colour, linewidth=0.8, alpha=0.6)
    axes.plot(places, means, style.marker, color=style.colour, markersize=5, clip_on=False, zorder=3)


def _windows(record: Record) -> list[tuple[int, int]]:
    return sorted({(split.shortest, split.longest) for split in record.splits if split.split == "test"})
