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

GAINING: tuple[Rule, ...] = ("paper", "oracle")
"""The rules whose gain over the strict one is told."""


@dataclass(frozen=True)
class Reading:
    """One cell under one rule: solved seeds, the median over seeds of whole-string accuracy on Bin1, which the paper's
    rule has seen, and each seed's on strings that neither this rule nor the strict one has."""

    rule: Rule
    solved: int
    longer: float
    unseen_seeds: tuple[float, ...]

    @property
    def unseen(self) -> float:
        """The median of the seeds."""
        return spread(self.unseen_seeds).median


@dataclass(frozen=True)
class Cell:
    """The same seeds of one cell under every rule; `chance` is the better guess on Bin1, `lengths` those of the unseen
    strings."""

    mixer: str
    language: str
    seeds: int
    chance: float
    lengths: tuple[int, int]
    readings: tuple[Reading, ...]

    def gains(self, rule: Rule, over: Rule = "strict") -> tuple[float, ...]:
        """How much each seed gains by a rule over another, on unseen strings."""
        of_rule = {reading.rule: reading.unseen_seeds for reading in self.readings}
        return tuple(one - other for one, other in zip(of_rule[rule], of_rule[over], strict=True))


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
            | {"unseen_lengths": list(cell.lengths)}
            | {reading.rule: asdict(reading) | {"unseen": reading.unseen} for reading in cell.readings}
            | {f"gain_{rule}": spread(cell.gains(rule)).median for rule in GAINING}
            | {f"gain_{rule}_seeds": list(cell.gains(rule)) for rule in GAINING}
            for cell in rows
        ]

    def render(self, rows: Sequence[Cell]) -> Table:
        """Median accuracies on unseen longer strings, and beside them what the rule itself would report."""
        table = Table(
            header_style="bold",
            caption=(
                "Strings longer than those of training that no rule has seen (the oracle has, where they are no longer "
                "than 100), whole strings right in percent, median over seeds. A language with one string a length has "
                "none of Bin1's lengths but Bin1's own: there longer ones are read. In brackets what the rule would "
                "report of itself: solved seeds, and the median on Bin1. Gain: of the same seed over the strict rule, "
                "median, and from lowest to highest."
            ),
            caption_justify="left",
        )
        gains = ("gain, paper\nlow to high", "gain, oracle\nlow to high")
        for name in ("model\nseeds", *(f"{rule}\nsolved, Bin1" for rule in RULES), *gains, "guess"):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, _heading, _texts)
        return table


def _cell(rows: tuple[Row, ...]) -> Cell:
    first = rows[0]
    longer = list(zip(first.test, first.fresh, strict=True))[1:]  # the first has the lengths of training
    lengths = next((shortest, longest) for (shortest, longest, _), fresh in longer if fresh)
    readings = tuple(_reading(row, lengths) for row in rows)
    return Cell(first.mixer, first.language, first.seeds, first.chance_bin1, lengths, readings)


def _reading(row: Row, lengths: tuple[int, int]) -> Reading:
    unseen = next(shares for shortest, longest, shares in row.test if (shortest, longest) == lengths)
    return Reading(row.rule, row.solved, spread(row.bin1).median, unseen)


def _heading(cell: Cell) -> str:
    shortest, longest = cell.lengths
    return f"{cell.language}  unseen: {shortest}-{longest}"


def _texts(cell: Cell) -> list[str]:
    shown = [f"{percent(r.unseen)}\n[dim]({r.solved}, {percent(r.longer)})[/dim]" for r in cell.readings]
    gains = [[100 * gain for gain in cell.gains(rule)] for rule in GAINING]
    texts = [f"{spread(each).median:+.1f}\n[dim]{min(each):+.1f} to {max(each):+.1f}[/dim]" for each in gains]
    return [f"{cell.mixer}\n[dim]{cell.seeds}[/dim]", *shown, *texts, percent(cell.chance)]
