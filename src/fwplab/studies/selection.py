"""How much of a reported accuracy is the choice of the checkpoint?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rich.table import Table

from fwplab.record import Member, Record
from fwplab.run import RULES, Rule, Run
from fwplab.selection import IN_DISTRIBUTION_RULES, merit
from fwplab.studies.irie2023 import Irie2023
from fwplab.studies.study import Draw, Study
from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row, by_cell, cell_members
from fwplab.tables.statistics import spread
from fwplab.tables.terminal import add_by_language

GAINING: tuple[Rule, ...] = ("paper", "oracle")
"""The rules whose gain over the strict one is told."""


@dataclass(frozen=True)
class Reading:
    """One cell under one rule: solved seeds, each seed's whole-string accuracy on Bin1, which the paper's rule has
    seen, and on strings that neither this rule nor the strict one has.

    `read_at` is the step of the checkpoint, median over seeds. `to_the_end_seeds` is the accuracy on Bin1 had the rule
    read every look at the bins: strict and last end the training once Bin0 was right ten times in a row.
    """

    rule: Rule
    solved: int
    longer_seeds: tuple[float, ...]
    unseen_seeds: tuple[float, ...]
    read_at: float
    to_the_end_seeds: tuple[float, ...]

    @property
    def medians(self) -> dict[str, float]:
        """Of the seeds, by the names of the three accuracies."""
        return {name: spread(getattr(self, f"{name}_seeds")).median for name in ("longer", "unseen", "to_the_end")}


@dataclass(frozen=True)
class SelectionRow:
    """The same seeds of one cell under every rule; `chance` is the better guess on Bin1, `lengths` those of the unseen
    strings."""

    mixer: str
    language: str
    seeds: int
    chance: float
    lengths: tuple[int, int]
    readings: tuple[Reading, ...]

    def reading(self, rule: Rule) -> Reading:
        """What a rule makes of the cell."""
        return next(reading for reading in self.readings if reading.rule == rule)

    def gains(self, rule: Rule, over: Rule = "strict") -> tuple[float, ...]:
        """How much each seed gains by a rule over another, on unseen strings."""
        pairs = zip(self.reading(rule).unseen_seeds, self.reading(over).unseen_seeds, strict=True)
        return tuple(one - other for one, other in pairs)

    def split_gains(self) -> list[tuple[float, float]]:
        """What each seed gains on Bin1 by the paper's rule over the strict one: because the strict rule ended the
        training, and because it chose another look of the same training."""
        strict, paper = self.reading("strict"), self.reading("paper")
        seeds = zip(strict.longer_seeds, strict.to_the_end_seeds, paper.longer_seeds, strict=True)
        return [(to_the_end - told, best - to_the_end) for told, to_the_end, best in seeds]


class Selection(Study):
    """The runs of the paper's table, read under four rules."""

    title = "How much of a reported number is selection"
    question = (
        "The same runs, read four ways: the checkpoint that is best on both bins (the paper's rule), best on "
        "in-distribution strings alone (strict), the last, and best on the reported strings themselves (oracle). "
        "How much does a number change?"
    )
    records_of = "irie2023"
    template_mixer = Irie2023.template_mixer

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Those of the paper's table that log what the oracle needs; quick: its regular languages."""
        every = Irie2023().runs(quick=False, seeds=seeds)
        return [run for run in every if run.language in ("parity", "aa_star")] if quick else every

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[SelectionRow]:
        """One row a cell; all rules stand in it, so that `rule` changes nothing."""
        found = list(records)
        tables = [Irie2023().rows(found, each) for each in RULES]
        cells = by_cell(found)
        return [_cell(same, cell_members(cells[same[0].language, same[0].mixer])) for same in zip(*tables, strict=True)]

    def notes(self, rows: Sequence[SelectionRow]) -> str:
        """How much of the gain is the end of training, and how much the choice among the same looks."""
        split = [[100 * gain for gain in both] for cell in rows for both in cell.split_gains()]
        differing = [both for both in split if abs(sum(both)) > 1]
        if not differing:
            return "No seed differs on Bin1 by more than a point between the paper's rule and the strict one."
        stopping, choosing = zip(*differing, strict=True)
        return (
            f"{len(differing)} of {len(split)} seeds differ on Bin1 by more than a point between the paper's "
            f"rule and the strict one: by {spread([sum(both) for both in differing]).median:+.1f} (median, points); "
            f"{spread(stopping).median:+.1f} because the strict rule ends the training, "
            f"{spread(choosing).median:+.1f} because it chooses among the looks without Bin1."
        )

    def figures(self) -> Mapping[str, Draw]:
        """Those of the runs; its rows have none of their own."""
        return {"lengths": self.draw_lengths, "curves": self.draw_curves, "steps": self.draw_steps}

    def facts(self, rows: Sequence[SelectionRow]) -> list[dict[str, Any]]:
        """Readings by the name of their rule."""
        return [
            {"mixer": cell.mixer, "language": cell.language, "seeds": cell.seeds, "chance": cell.chance}
            | {"unseen_lengths": list(cell.lengths)}
            | {reading.rule: asdict(reading) | reading.medians for reading in cell.readings}
            | {f"gain_{rule}": spread(cell.gains(rule)).median for rule in GAINING}
            | {f"gain_{rule}_seeds": list(cell.gains(rule)) for rule in GAINING}
            for cell in rows
        ]

    def render(self, rows: Sequence[SelectionRow]) -> Table:
        """Median accuracies on unseen longer strings, and beside them what the rule itself would report."""
        table = Table(
            header_style="bold",
            caption=(
                "Strings of the lengths beside the language that no rule has seen (the oracle has, where they are no "
                "longer than 100), whole strings right in percent, median over seeds. A language with one string a "
                "length has none of Bin1's lengths but Bin1's own: there longer ones are read. In brackets what the "
                "rule would report of itself: solved seeds, and the median on Bin1. Gain: of the same seed over the "
                "strict rule, median, and from lowest to highest. To the end: what strict and last would find on Bin1"
                " if they did not end the training once Bin0 was right at ten looks in a row, but read every look "
                "that the paper's rule reads. Steps: those that strict and paper chose, medians."
            ),
            caption_justify="left",
        )
        gains = ("gain, paper\nlow to high", "gain, oracle\nlow to high")
        longer = "to the end\nsteps"
        for name in ("model\nseeds; guess", *(f"{rule}\nsolved, Bin1" for rule in RULES), *gains, longer):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, _heading, _texts)
        return table


def _cell(rows: tuple[Row, ...], members: Sequence[Member]) -> SelectionRow:
    first = rows[0]
    longer = list(zip(first.test, first.fresh, strict=True))[1:]  # the first has the lengths of training
    lengths = next((shortest, longest) for (shortest, longest, _), fresh in longer if fresh)
    readings = tuple(_reading(row, members, lengths) for row in rows)
    return SelectionRow(first.mixer, first.language, first.seeds, first.chance_bin1, lengths, readings)


def _reading(row: Row, members: Sequence[Member], lengths: tuple[int, int]) -> Reading:
    unseen = next(shares for shortest, longest, shares in row.test if (shortest, longest) == lengths)
    read_at = spread([member.selected.get(row.rule, 0) for member in members]).median
    to_the_end = tuple(_to_the_end(row.rule, member) for member in members)
    return Reading(row.rule, row.solved, row.bin1, unseen, read_at, to_the_end)


def _to_the_end(rule: Rule, member: Member) -> float:
    """What the rule would have found on Bin1, had it read every check; 0 where there was none."""
    best = max(member.checks, key=partial(merit, rule), default=None)
    return best.bin1_accuracy if best else 0.0


def _heading(cell: SelectionRow) -> str:
    shortest, longest = cell.lengths
    return f"{cell.language}  {shortest}-{longest}"


def _texts(cell: SelectionRow) -> list[str]:
    medians = {reading.rule: reading.medians for reading in cell.readings}
    shown = [
        f"{percent(medians[r.rule]['unseen'])}\n[dim]({r.solved}, {percent(medians[r.rule]['longer'])})[/dim]"
        for r in cell.readings
    ]
    gains = [[100 * gain for gain in cell.gains(rule)] for rule in GAINING]
    texts = [f"{spread(each).median:+.1f}\n[dim]{min(each):+.1f} to {max(each):+.1f}[/dim]" for each in gains]
    longer = ", ".join(percent(medians[rule]["to_the_end"]) for rule in IN_DISTRIBUTION_RULES)
    steps = ", ".join(f"{cell.reading(rule).read_at:,.0f}" for rule in ("strict", "paper"))
    return [
        f"{cell.mixer}\n[dim]{cell.seeds}; {percent(cell.chance)}[/dim]",
        *shown,
        *texts,
        f"{longer}\n[dim]{steps}[/dim]",
    ]
