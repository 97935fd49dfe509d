"""Where is a model's state kept? Which layer's state, when exchanged between two words, changes the labels?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwplab.languages import load_language
from fwplab.probes import Values, patched
from fwplab.probes.patching import CUTS
from fwplab.studies._mechanism import Mechanism, MechanismRow, mixer_rows, share
from fwplab.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class Patching(Mechanism):
    """Exchanges the state of a layer or a head between two words."""

    title = "Where the state is kept"
    question = (
        "Put the state of one layer, or one head, from another word into this one: does the model go on as after the "
        "other word? And does it not care where both words are in the same state of the language?"
    )
    x = "labels that follow the other word (%)"
    head = ("place", *(f"after {cut}\nmoved" for cut in CUTS), "kept")
    caption = (
        "Labels in percent that follow the other word when the state of one layer is exchanged after so many symbols, "
        "a line a layer and then the one head that moves most, of those that differ between the two words; medians "
        "over seeds. Kept: labels that stay when the other word is in the same state, mean over the cuts. All layers "
        "together move everything, by construction."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """Exchanges states of the model between pairs of words."""
        return patched(checkpoint.model(), load_language(checkpoint.run.language))

    def texts(self, cell: MechanismRow) -> list[str]:
        """The values of a row, with a line for each layer and one for the head that moves most."""
        layers = [name for name in cell.names("moved") if name.startswith("layer") and "head" not in name]
        heads = [name for name in cell.names("moved") if "head" in name]
        best = max(heads, key=lambda name: _mean(cell, f"{name}/moved") or 0.0, default=None)
        places = layers + ([best] if best else [])
        columns = [places]
        columns += [[share(cell.median(cut, f"{place}/moved")) for place in places] for cut in CUTS]
        columns.append([share(_mean(cell, f"{place}/kept")) for place in places])
        return ["\n".join(column) for column in columns]

    def legend(self, cells: Sequence[MechanismRow]) -> "list[Line2D]":
        """The meaning of a number and of a dot."""
        from matplotlib.lines import Line2D

        from fwplab.plots.style import INK

        return [
            Line2D([], [], linestyle="", label="a number: the state of that layer"),
            Line2D([], [], color=INK, marker=".", linestyle="", markersize=5, label="of one head"),
        ]

    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """Draws a row for each mixer: the share of labels that each layer moves, mean over cuts. The marker is the
        layer's number."""
        from fwplab.plots.style import look

        for row, cell in enumerate(cells):
            colour = look(cell.mixer).colour
            for place in cell.names("moved"):
                value = 100 * (_mean(cell, f"{place}/moved") or 0.0)
                layer = place.removeprefix("layer ").split()[0]
                if "head" in place:
                    axes.plot(value, row + 0.28, ".", color=colour, markersize=4, alpha=0.8, clip_on=False)
                elif place != "all":
                    axes.text(value, row, layer, color=colour, fontweight="bold", ha="center", va="center")
        mixer_rows(axes, cells)


def _mean(cell: MechanismRow, name: str) -> float | None:
    """The mean over the cuts of the medians over seeds; None without values."""
    found = [cell.values[length, name].median for length in cell.lengths(name)]
    return sum(found) / len(found) if found else None
