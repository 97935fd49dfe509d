"""What becomes of the labels when the state stops changing, or one part of it never changes?"""

from fwplab.checkpoint import Checkpoint
from fwplab.languages import language
from fwplab.probes import Values, frozen
from fwplab.probes.freezing import AFTER
from fwplab.studies.mechanism import Cell, Mechanism, share


class Freezing(Mechanism):
    """Self-modification ended after t steps, or one block's rate set to 0."""

    title = "What the updates are good for"
    question = (
        "How many labels are still right when all states are frozen after t steps, and when one part, such as a block "
        "of a self-referential weight matrix, is never rewritten?"
    )
    figures = ("freezing",)
    head = ("free", *(f"t = {after}" for after in AFTER), "held", "right", "guess")
    caption = (
        "Labels right in percent on words of 31-50 symbols, positions after t; medians over seeds. Held: one part of "
        "every layer's state keeps its initial value (of SRWM: the block's rate is 0; of Recurrent Delta: W, or what "
        "is fed back), the rest goes on. A layer that writes before it reads, as all but SRWM, still reads what the "
        "present symbol writes, and then loses it. Guess: the most frequent label."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """The checkpoint's model alone."""
        return frozen(checkpoint.model(), language(checkpoint.run.language))

    def texts(self, cell: Cell) -> list[str]:
        """One line, and one for each part that is held."""
        held = sorted(name for _, name in cell.values if name.startswith("held "))
        return [
            share(cell.median(0, "free")),
            *(share(cell.median(after, "frozen")) for after in AFTER),
            "\n".join(name.removeprefix("held ") for name in held) or "-",
            "\n".join(share(cell.median(0, name)) for name in held) or "-",
            share(cell.median(0, "guess")),
        ]
