"""The figures of the study `time_scales`: solved seeds by start, and predicted beside measured depths."""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from fwplab.plots.style import INK, STYLE, key, legend, line_style, measured_names, panelled
from fwplab.probes.leak import DEPTHS
from fwplab.studies.time_scales import TimeScalesRow


def solved_by_start(rows: Sequence[TimeScalesRow]) -> Figure:
    """Draws a heat map for each mixer and language: solved seeds by rate bias and value scale.

    A darker cell has a larger share of solved seeds. Below the share is the median step of the seeds that solve it.
    """
    mixers, languages = measured_names([(row.mixer, row.language) for row in rows])
    biases = sorted({row.rate_bias for row in rows}, reverse=True)
    scales = sorted({row.value_scale for row in rows})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.72 * len(scales) * len(languages) + 1.4, 0.5 * len(biases) * len(mixers) + 1.2))
        figure.set_label(f"Seeds that solve {', '.join(languages)}, by the start of {', '.join(mixers)}")
        grid = figure.subplots(len(mixers), len(languages), squeeze=False, sharex=True, sharey=True)
        for line, mixer in zip(grid, mixers, strict=True):
            for axes, language in zip(line, languages, strict=True):
                for row in rows:
                    if (row.mixer, row.language) == (mixer, language):
                        _draw_cell(axes, row, scales.index(row.value_scale), biases.index(row.rate_bias))
                axes.set_xlim(-0.5, len(scales) - 0.5)
                axes.set_ylim(len(biases) - 0.5, -0.5)
                axes.set_xticks(range(len(scales)), [f"{scale:g}" for scale in scales])
                axes.set_yticks(range(len(biases)), [f"{bias:g}" for bias in biases])
                axes.tick_params(length=0)
                axes.spines[:].set_visible(False)
            line[0].set_ylabel(mixer, color=line_style(mixer).colour, fontweight="bold")
        for axes, language in zip(grid[0], languages, strict=True):
            axes.set_title(language)
        figure.supxlabel("scale of the values at the start", fontsize=9)
        figure.supylabel("bias of the rates at the start", fontsize=9)
    return figure


def _draw_cell(axes: Axes, row: TimeScalesRow, x: int, y: int) -> None:
    share = row.solved / row.seeds
    corner = x - 0.47, y - 0.45
    axes.add_patch(Rectangle(corner, 0.94, 0.9, facecolor=line_style(row.mixer).colour, alpha=share, linewidth=0))
    axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor=INK, alpha=0.25, linewidth=0.5))
    text = f"{row.solved}/{row.seeds}" + ("" if row.steps is None else f"\n{row.steps:,.0f}")
    axes.text(x, y, text, ha="center", va="center", fontsize=7, color="#ffffff" if share > 0.7 else INK)


def predicted_and_held(rows: Sequence[TimeScalesRow]) -> Figure:
    """Draws the depth up to which counts are right against the depth that the leak predicts, with a dot for each start.

    On the dashed line both are equal. Filled dots have at least one solved seed.
    """
    measured = [row for row in rows if row.leak and row.held]
    languages, mixers = measured_names([(row.language, row.mixer) for row in measured])
    highest = 2 * DEPTHS[-1]
    with matplotlib.rc_context(STYLE):
        figure, panels = panelled(languages, "depth that the leak predicts", "depth that holds")
        figure.set_label(f"Depths that the leak predicts, and depths that hold, on {', '.join(languages)}")
        for axes, language in zip(panels, languages, strict=True):
            axes.plot([1, highest], [1, highest], color=INK, linestyle="--", alpha=0.5)
            for row in measured:
                if row.language == language and row.held and row.predicted:
                    place = min(max(row.predicted, 1), highest), max(row.held.median, 1)
                    style = line_style(row.mixer)
                    fill = style.colour if row.solved else "none"
                    axes.plot(*place, style.marker, color=style.colour, markerfacecolor=fill, clip_on=False)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlim(1, highest)
            axes.set_ylim(1, highest)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
                axis.set_minor_formatter(NullFormatter())
        legend(figure, [key(mixer, line_style(mixer)) for mixer in mixers])
    return figure
