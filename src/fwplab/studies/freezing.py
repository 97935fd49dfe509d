"""How accurate does a model stay when its state, or one part of its state, is no longer updated?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fwplab.languages import load_language
from fwplab.mixers.srwm import BLOCKS
from fwplab.probes import Values, frozen
from fwplab.probes.freezing import AFTER
from fwplab.studies._mechanism import Mechanism, MechanismRow, share
from fwplab.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class Freezing(Mechanism):
    """Freezes all states after t steps, or freezes one part of the states (a block of an SRWM) from the start."""

    title = "Does the model need the updates of its state?"
    question = (
        "How many labels does the model still predict correctly if its state, or one part of its state, is no "
        "longer updated?"
    )
    x = "all states frozen after this step | one part frozen from the start"
    y = "correct labels (%)"
    head = ("not frozen", *(f"t = {after}" for after in AFTER), "frozen part", "correct", "guess")
    caption = (
        "Correct labels in percent on words of 31-50 symbols, medians over seeds. Not frozen: without intervention. "
        "t = 5: the states of all layers are frozen after 5 steps, and the positions after them count. Frozen part: "
        "this part of every layer's state keeps its initial value, and all other parts are updated. For a block of "
        "SRWM this means a rate of 0. The parts of Recurrent Delta are W and the output that is fed back. Every "
        "layer except SRWM writes before it reads: it still reads what the current symbol writes, but does not keep "
        "it. Guess: the most frequent label."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """Runs the model with frozen states and with frozen parts."""
        return frozen(checkpoint.model(), load_language(checkpoint.run.language))

    def texts(self, cell: MechanismRow) -> list[str]:
        """The values of a row, with a line for each frozen part."""
        held = sorted(name for _, name in cell.values if name.startswith("held "))
        return [
            share(cell.median(0, "free")),
            *(share(cell.median(after, "frozen")) for after in AFTER),
            "\n".join(name.removeprefix("held ") for name in held) or "-",
            "\n".join(share(cell.median(0, name)) for name in held) or "-",
            share(cell.median(0, "guess")),
        ]

    def legend(self, cells: Sequence[MechanismRow]) -> "list[Line2D]":
        """Entries for the mixers and the guess."""
        from matplotlib.lines import Line2D

        from fwplab.plots.style import INK, key, line_style

        keys = [key(mixer, line_style(mixer)) for mixer in dict.fromkeys(cell.mixer for cell in cells)]
        return [*keys, Line2D([], [], color=INK, linestyle=":", alpha=0.7, label="most frequent label")]

    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """Draws the share of correct labels against the step t, and on the right the share for each frozen part.

        The mixers are drawn side by side at each step, so that none hides another.
        """
        from fwplab.plots.style import INK, line_style, percent_axis

        held = {name for cell in cells for _, name in cell.values if name.startswith("held ")}
        columns = {name: len(AFTER) + 1 + place for place, name in enumerate(sorted(held, key=_part_order))}
        for number, cell in enumerate(cells):
            style, shift = line_style(cell.mixer), 0.6 * ((number + 0.5) / len(cells) - 0.5)
            shares = [100 * cell.values[after, "frozen"].median for after in AFTER]
            places = [place + shift for place in range(len(AFTER))]
            line = style.marker + "-"
            axes.plot(places, shares, line, color=style.colour, linewidth=0.8, markersize=4, clip_on=False)
            for name, place in columns.items():
                if (0, name) in cell.values:
                    value = 100 * cell.values[0, name].median
                    axes.plot(place, value, style.marker, color=style.colour, markersize=5, clip_on=False)
        axes.axhline(100 * cells[0].values[0, "guess"].median, color=INK, linestyle=":", alpha=0.7)
        axes.axvline(len(AFTER), color=INK, linewidth=0.6, alpha=0.4)
        texts = [*map(str, AFTER), *(name.removeprefix("held ") for name in columns)]
        axes.set_xticks([*range(len(AFTER)), *columns.values()], texts)
        for tick in axes.get_xticklabels()[len(AFTER) :]:
            tick.set(rotation=60, fontsize=7)
        percent_axis(axes)


def _part_order(name: str) -> tuple[int, str]:
    """A sort key: the parts of a mixer come together, in the order of its equations."""
    known = ("W", "fed back", *BLOCKS, "hidden", "cell")
    part = name.removeprefix("held ")
    return (known.index(part) if part in known else len(known), part)
