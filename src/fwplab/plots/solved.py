"""The figure of solved seeds."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fwplab.languages import short_name
from fwplab.plots.style import INK, STYLE
from fwplab.tables.rows import Row

FILL = "#0072b2"


def solve_rate_heatmap(rows: Sequence[Row]) -> Figure:
    """Draws how many seeds solve each cell, with a row for each language and a column for each model.

    A darker cell has a larger share of solved seeds.
    """
    languages = list(dict.fromkeys(row.language for row in rows))
    models = list(dict.fromkeys(row.model for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.05 * len(models) + 1.4, 0.42 * len(languages) + 0.9))
        figure.set_label("Seeds that solve each language, of all seeds of the cell")
        axes = figure.subplots()
        for row in rows:
            x, y = models.index(row.model), languages.index(row.language)
            rate = row.solved / row.seeds
            axes.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, facecolor=FILL, alpha=rate, linewidth=0))
            frame = Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, alpha=0.25)
            frame.set_linewidth(0.5)
            axes.add_patch(frame)
            ink = "#ffffff" if rate == 1 else INK
            axes.text(x, y, f"{row.solved}/{row.seeds}", ha="center", va="center", color=ink)
        axes.set_xlim(-0.5, len(models) - 0.5)
        axes.set_ylim(len(languages) - 0.5, -0.5)
        axes.set_xticks(range(len(models)), [_folded_name(model) for model in models])
        axes.set_yticks(range(len(languages)), list(map(short_name, languages)))
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _folded_name(model: str) -> str:
    """A name of several short lines."""
    mixer, _, start = model.partition(", ")
    lines = [mixer.replace("-", "-\n") if len(mixer) > 9 else mixer, start.replace(" ", "\n")]
    return "\n".join(line for line in lines if line)
