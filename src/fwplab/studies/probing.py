"""What can be read off a layer by a linear map: the automaton's state, a counter's value?"""

from fwplab.checkpoint import Checkpoint
from fwplab.languages import language
from fwplab.probes import Values, linear_probes
from fwplab.probes.linear import WINDOWS
from fwplab.studies.mechanism import Cell, Mechanism, share

ENDS = tuple(end for _, end in WINDOWS)


class Probing(Mechanism):
    """Linear probes with a control task and an untrained model beside them."""

    title = "What a layer holds"
    question = (
        "Can the state of the language's automaton, or the value of its counter, be read linearly off what a layer "
        "carries or hands on, better than random labels can, and better than before training?"
    )
    figures = ("probing",)
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
        return linear_probes(checkpoint.model(), untrained, language(checkpoint.run.language))

    def texts(self, cell: Cell) -> list[str]:
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


def best(cell: Cell, target: str, kind: str, end: int) -> float | None:
    """What the control or the untrained model scores at its own best place, so that no place is chosen against it."""
    places = [name for name in cell.names(kind) if name.startswith(f"{target}/")]
    found = [cell.median(end, f"{place}/{kind}") for place in places]
    return max((value for value in found if value is not None), default=None)


def best_place(cell: Cell, target: str) -> str:
    """Where the target is read best beyond the lengths of training."""
    places = [name for name in cell.names("right") if name.startswith(f"{target}/")]
    return max(places, key=lambda place: cell.median(ENDS[-1], f"{place}/right") or 0.0)
