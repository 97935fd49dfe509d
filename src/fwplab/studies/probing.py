"""Can a linear map read the automaton's state, or the value of a counter, from a layer?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fwplab.languages import load_language
from fwplab.probes import Values, linear_probes
from fwplab.probes.linear import WINDOWS
from fwplab.studies._mechanism import Mechanism, MechanismRow, mixer_rows, share
from fwplab.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

ENDS = tuple(end for _, end in WINDOWS)


class Probing(Mechanism):
    """Linear probes, compared with a control task and with an untrained model."""

    title = "What a linear map can read from a layer"
    question = (
        "Can a linear map of a layer's state or output give the state of the language's automaton, or the value of "
        "its counter?"
    )
    x = "positions {}-{} read correctly (%)".format(*WINDOWS[-1])
    head = ("what", "where", *(f"{first}-{last}" for first, last in WINDOWS))
    caption = (
        "Positions in percent at which a linear map of a layer's state or output gives the value, medians over seeds, "
        "by position in the word. The words have up to 50 symbols, and 51-100 in the last column. Where: the state or "
        "output with the best score in the last column. Beside the score: the same probe with random labels for each "
        "type of position, and the same before training, each at its own best place; and the most frequent value."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """Probes the trained model and the same model before training."""
        untrained = checkpoint.run.build(checkpoint.seed)
        return linear_probes(checkpoint.model(), untrained, load_language(checkpoint.run.language))

    def texts(self, cell: MechanismRow) -> list[str]:
        """The values of a row, at the best place for each target."""
        columns: list[list[str]] = [[] for _ in self.head]
        for target in cell.names("guess"):
            place = best_place(cell, target)
            columns[0].append(target)
            columns[1].append(place.removeprefix(f"{target}/"))
            for column, end in zip(columns[2:], ENDS, strict=True):
                others = [best(cell, target, kind, end) for kind in ("control", "untrained")]
                beside = " ".join(share(each) for each in (*others, cell.median(end, f"{target}/guess")))
                column.append(f"{share(cell.median(end, f'{place}/right'))} [dim]{beside}[/dim]")
        return ["\n".join(column) for column in columns]

    def legend(self, cells: Sequence[MechanismRow]) -> "list[Line2D]":
        """Entries for the three markers and the guess."""
        from matplotlib.lines import Line2D

        from fwplab.plots.style import INK

        return [
            Line2D([], [], color=INK, marker="o", linestyle="", markersize=5, label="trained"),
            Line2D([], [], color=INK, marker="o", linestyle="", markersize=5, fillstyle="none", label="untrained"),
            Line2D([], [], color=INK, marker="|", linestyle="", markersize=7, label="random labels"),
            Line2D([], [], color=INK, linestyle=":", label="most frequent value"),
        ]

    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """Draws a row for each mixer: the share of positions beyond the training lengths that are read correctly.

        Random labels and the untrained model are drawn in the same row. With several counters, it is the one with the
        lowest share.
        """
        from fwplab.plots.style import INK, line_style

        end = ENDS[-1]
        for row, cell in enumerate(cells):
            places = [(best_place(cell, target), target) for target in cell.names("guess")]
            place, target = min(places, key=lambda each: cell.median(end, f"{each[0]}/right") or 0.0)
            others = [best(cell, target, kind, end) for kind in ("untrained", "control")]
            values = [cell.median(end, f"{place}/right"), *others]
            right, untrained, control = (np.nan if value is None else 100 * value for value in values)
            colour = line_style(cell.mixer).colour
            axes.plot([control, right], [row, row], color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(right, row, "o", color=colour, markersize=6, clip_on=False)
            axes.plot(untrained, row, "o", color=colour, markersize=8, fillstyle="none", clip_on=False)
            axes.plot(control, row, "|", color=colour, markersize=8, clip_on=False)
            guess = cell.median(end, f"{target}/guess")
            if guess is not None:
                axes.plot([100 * guess] * 2, [row - 0.4, row + 0.4], color=INK, linestyle=":", alpha=0.7)
        mixer_rows(axes, cells)


def best(cell: MechanismRow, target: str, kind: str, end: int) -> float | None:
    """The highest score of the control or of the untrained model over all places.

    Its own best place is used, so that the comparison is fair to it.
    """
    places = [name for name in cell.names(kind) if name.startswith(f"{target}/")]
    found = [cell.median(end, f"{place}/{kind}") for place in places]
    return max((value for value in found if value is not None), default=None)


def best_place(cell: MechanismRow, target: str) -> str:
    """The place with the highest score of the probe beyond the lengths of training."""
    places = [name for name in cell.names("right") if name.startswith(f"{target}/")]
    return max(places, key=lambda place: cell.median(ENDS[-1], f"{place}/right") or 0.0)
