"""How much of a reported accuracy is the choice of the checkpoint?"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from fwplab.record import Record
from fwplab.run import RULES, Rule, Run
from fwplab.statistics import spread
from fwplab.studies.irie2023 import Irie2023
from fwplab.studies.study import Study
from fwplab.table import Row, add_by_language, percent


@dataclass(frozen=True)
class Reading:
    """One cell under one rule: solved seeds, and medians over seeds of whole-string accuracy.

    `longer` is Bin1, which the paper's rule has seen; `unseen` are fresh strings of the same lengths, which the oracle
    alone has seen.
    """

    rule: Rule
    solved: int
    longer: float
    unseen: float


@dataclass(frozen=True)
class Cell:
    """The same seeds of one cell under every rule; `chance` is the better guess on Bin1."""

    mixer: str
    language: str
    seeds: int
    chance: float
    readings: tuple[Reading, ...]

    def gain(self, rule: Rule, over: Rule = "strict") -> float:
        """How much a rule gains over another on strings that neither is reported to have seen (the oracle has)."""
        unseen = {reading.rule: reading.unseen for reading in self.readings}
        return unseen[rule] - unseen[over]


class Selection(Study):
    """The runs of the paper's table, read under four rules."""

    title = "How much of a reported number is selection"
    question = (
        "The same runs, read four ways: the checkpoint that is best on both bins (the paper's rule), best on "
        "in-distribution strings alone (strict), the last, and best on the reported strings themselves (oracle). "
        "How much does a number change?"
    )
    records_of = "irie2023"
    figures = ("lengths", "curves", "steps")
    columns = ("language", "mixer", "seeds", "chance", "paper.unseen", "strict.unseen", "last.unseen", "oracle.unseen")

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Those of the paper's table that log what the oracle needs; quick: its regular languages."""
        every = Irie2023().runs(quick=False, seeds=seeds)
        return [run for run in every if run.language in ("parity", "aa_star")] if quick else every

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[Cell]:
        """One row a cell; all rules stand in it, so that `rule` changes nothing."""
        found = list(records)
        tables = [Irie2023().rows(found, each) for each in RULES]
        return [_cell(same) for same in zip(*tables, strict=True)]

    def facts(self, rows: Sequence[Cell]) -> list[dict[str, Any]]:
        """Readings by the name of their rule."""
        return [
            {"mixer": cell.mixer, "language": cell.language, "seeds": cell.seeds, "chance": cell.chance}
            | {reading.rule: asdict(reading) for reading in cell.readings}
            | {"gain_paper": cell.gain("paper"), "gain_oracle": cell.gain("oracle")}
            for cell in rows
        ]

    def render(self, rows: Sequence[Cell]) -> Table:
        """Median accuracies on unseen longer strings, and beside them what the rule itself would report."""
        table = Table(
            header_style="bold",
            caption=(
                "Fresh strings longer than those of training, whole strings right in percent, median over seeds. "
                "In brackets what the rule would report of itself: solved seeds, and the median on Bin1. "
                "Gain: over the strict rule."
            ),
            caption_justify="left",
        )
        for name in ("model\nseeds", *(f"{rule}\nsolved, Bin1" for rule in RULES), "gain, paper\noracle", "guess"):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, lambda cell: cell.language, _texts)
        return table


def _cell(rows: tuple[Row, ...]) -> Cell:
    first = rows[0]
    return Cell(first.mixer, first.language, first.seeds, first.chance_bin1, tuple(_reading(row) for row in rows))


def _reading(row: Row) -> Reading:
    longest = max(low for low, high, _ in row.test if high <= 100)  # the strings of Bin1's lengths that are fresh
    unseen = next(shares for low, _, shares in row.test if low == longest)
    return Reading(row.rule, row.solved, spread(row.bin1).median, spread(unseen).median)


def _texts(cell: Cell) -> list[str]:
    shown = [f"{percent(r.unseen)}\n[dim]({r.solved}, {percent(r.longer)})[/dim]" for r in cell.readings]
    gains = f"{100 * cell.gain('paper'):+.1f}\n{100 * cell.gain('oracle'):+.1f}"
    return [f"{cell.mixer}\n[dim]{cell.seeds}[/dim]", *shown, gains, percent(cell.chance)]
