"""Where does a model keep what it knows: which layer's state, put into another word, carries the labels with it?"""

from fwplab.checkpoint import Checkpoint
from fwplab.languages import language
from fwplab.probes import Values, patched
from fwplab.probes.patching import CUTS
from fwplab.studies.mechanism import Cell, Mechanism, share


class Patching(Mechanism):
    """States exchanged between two words."""

    title = "Where the state is kept"
    question = (
        "Put the state of one layer, or one head, from another word into this one: does the model go on as after the "
        "other word? And does it not care where both words are in the same state of the language?"
    )
    figures = ("patching",)
    head = ("place", *(f"after {cut}\nmoved" for cut in CUTS), "kept")
    caption = (
        "Labels in percent that follow the other word when the state of one layer is exchanged after so many symbols, "
        "a line a layer and then the one head that moves most, of those that differ between the two words; medians "
        "over seeds. Kept: labels that stay when the other word is in the same state, mean over the cuts. All layers "
        "together move everything, by construction."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """The checkpoint's model alone."""
        return patched(checkpoint.model(), language(checkpoint.run.language))

    def texts(self, cell: Cell) -> list[str]:
        """A line a layer, and one for the best head."""
        layers = [name for name in cell.names("moved") if name.startswith("layer") and "head" not in name]
        heads = [name for name in cell.names("moved") if "head" in name]
        best = max(heads, key=lambda name: _mean(cell, f"{name}/moved") or 0.0, default=None)
        places = layers + ([best] if best else [])
        columns = [places]
        columns += [[share(cell.median(cut, f"{place}/moved")) for place in places] for cut in CUTS]
        columns.append([share(_mean(cell, f"{place}/kept")) for place in places])
        return ["\n".join(column) for column in columns]


def _mean(cell: Cell, name: str) -> float | None:
    """Over the cuts."""
    found = [cell.values[length, name].median for length in cell.lengths(name)]
    return sum(found) / len(found) if found else None
