"""What can be read off a layer by a linear map: the automaton's state, a counter's value?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fwplab.checkpoint import Checkpoint
from fwplab.languages import load_language
from fwplab.probes import Values, linear_probes
from fwplab.probes.linear import WINDOWS
from fwplab.studies.mechanism import Mechanism, MechanismRow, mixer_rows, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

ENDS = tuple(end for _, end in WINDOWS)


class Probing(Mechanism):
    """Linear probes with a control task and an untrained model beside them."""

    title = "What a layer holds"
    question = (
        "Can the state of the language's automaton, or the value of its counter, be read linearly off what a layer "
        "carries or hands on, better than random labels can, and better than before training?"
    )
    x = "positions {}-{} read off right (%)".format(*WINDOWS[-1])
    head = ("what", "where", *(f"{first}-{last}" for first, last in WINDOWS))
    caption = (
        "Positions in percent at which a linear map gives the value, medians over seeds, by place in the word; words "
        "up to 50 symbols and, last, of 51-100. The layer's state (what it carries) or output that reads best on the "
        "last; beside it, each at its own best place, the same probe on random labels a type of position and the same "
        "before training; and the most frequent value."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """Beside the checkpoint its own model before training."""
        untrained = checkpoint.run.build(checkpoint.seed)
        return linear_probes(checkpoint.model(), untrained, load_language(checkpoint.run.language))

    def texts(self, cell: MechanismRow) -> list[str]:
        """The best place of each target."""
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
        """Three markers and the guess."""
        from matplotlib.lines import Line2D

        from fwplab.plots.style import INK

        return [
            Line2D([], [], color=INK, marker="o", linestyle="", markersize=5, label="trained"),
            Line2D([], [], color=INK, marker="o", linestyle="", markersize=5, fillstyle="none", label="untrained"),
            Line2D([], [], color=INK, marker="|", linestyle="", markersize=7, label="random labels"),
            Line2D([], [], color=INK, linestyle=":", label="most frequent value"),
        ]

    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """A row a mixer: right positions beyond the lengths of training, beside random labels and the untrained model.

        Of several counters the one that is read worst is drawn.
        """
        from fwplab.plots.style import INK, look

        end = ENDS[-1]
        for row, cell in enumerate(cells):
            places = [(best_place(cell, target), target) for target in cell.names("guess")]
            place, target = min(places, key=lambda each: cell.median(end, f"{each[0]}/right") or 0.0)
            others = [best(cell, target, kind, end) for kind in ("untrained", "control")]
            values = [cell.median(end, f"{place}/right"), *others]
            right, untrained, control = (np.nan if value is None else 100 * value for value in values)
            colour = look(cell.mixer).colour
            axes.plot([control, right], [row, row], color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(right, row, "o", color=colour, markersize=6, clip_on=False)
            axes.plot(untrained, row, "o", color=colour, markersize=8, fillstyle="none", clip_on=False)
            axes.plot(control, row, "|", color=colour, markersize=8, clip_on=False)
            guess = cell.median(end, f"{target}/guess")
            if guess is not None:
                axes.plot([100 * guess] * 2, [row - 0.4, row + 0.4], color=INK, linestyle=":", alpha=0.7)
        mixer_rows(axes, cells)


def best(cell: MechanismRow, target: str, kind: str, end: int) -> float | None:
    """What the control or the untrained model scores at its own best place, so that no place is chosen against it."""
    places = [name for name in cell.names(kind) if name.startswith(f"{target}/")]
    found = [cell.median(end, f"{place}/{kind}") for place in places]
    return max((value for value in found if value is not None), default=None)


def best_place(cell: MechanismRow, target: str) -> str:
    """Where the target is read best beyond the lengths of training."""
    places = [name for name in cell.names("right") if name.startswith(f"{target}/")]
    return max(places, key=lambda place: cell.median(ENDS[-1], f"{place}/right") or 0.0)
