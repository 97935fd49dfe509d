"""Which layer or head stores the state of the language? Exchanging its state between two words shows it."""

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
    """Exchanges the state of a layer or a head between two words, of different or of the same state of the language."""

    title = "Which layer stores the state"
    question = (
        "If the state of one layer or head is replaced by its state after another word, do the labels become those "
        "of the other word?"
    )
    x = "labels that become those of the other word (%)"
    head = ("place", *(f"after {cut}\nmoved" for cut in CUTS), "kept")
    caption = (
        "The state of a layer or head is replaced, after 5 to 30 symbols, by its state after another word. Moved: of "
        "the labels that differ between the two words, the percentage that becomes that of the other word. Kept: if "
        "both words are in the same state of the language, the percentage of labels that does not change, mean over "
        "the numbers of symbols. One line for each layer, and one for the head with the highest moved. Medians over "
        "seeds. Replacing the states of all layers together moves all labels by construction."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """Exchanges states of the model between pairs of words."""
        return patched(checkpoint.model(), load_language(checkpoint.run.language))

    def texts(self, cell: MechanismRow) -> list[str]:
        """The values of a row, with a line for each layer and one for the head that moves most labels."""
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
            Line2D([], [], linestyle="", label="a number: the layer with that number"),
            Line2D([], [], color=INK, marker=".", linestyle="", markersize=5, label="a dot: one head"),
        ]

    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """Draws a row for each mixer: the share of labels that each layer moves, mean over cuts. The marker is the
        layer's number."""
        from fwplab.plots.style import line_style

        for row, cell in enumerate(cells):
            colour = line_style(cell.mixer).colour
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
