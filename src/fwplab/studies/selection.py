"""How much does a reported accuracy depend on the rule that selects the checkpoint?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from rich.table import Table

from fwplab.studies.irie2023 import Irie2023
from fwplab.studies.study import Draw, Study
from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row, by_cell, cell_members
from fwplab.tables.statistics import spread
from fwplab.tables.terminal import add_by_language
from fwplab.training.record import Member, Record
from fwplab.training.run import RULES, Rule, Run
from fwplab.training.selection import IN_DISTRIBUTION_RULES, merit

GAINING: tuple[Rule, ...] = ("paper", "oracle")
"""The rules whose gain over the strict rule is shown."""


@dataclass(frozen=True)
class RuleResult:
    """The results of one cell under one rule. Accuracies are shares of strings with every label right."""

    rule: Rule
    """The rule."""
    solved: int
    """The number of solved seeds."""
    longer_seeds: tuple[float, ...]
    """The accuracy of each seed on Bin1, which the paper's rule uses for selection."""
    unseen_seeds: tuple[float, ...]
    """The accuracy of each seed on strings that neither this rule nor the strict rule uses."""
    read_at: float
    """The step of the selected checkpoint, median over seeds."""
    to_the_end_seeds: tuple[float, ...]
    """The accuracy of each seed on Bin1 if the rule could use all evaluations. The rules strict and last ignore those
    after Bin0 was at 100 % ten times in a row."""

    @property
    def medians(self) -> dict[str, float]:
        """The medians over seeds of the three accuracies, by name."""
        return {name: spread(getattr(self, f"{name}_seeds")).median for name in ("longer", "unseen", "to_the_end")}


@dataclass(frozen=True)
class SelectionRow:
    """The results of one cell, with the same seeds, under every rule."""

    mixer: str
    """The mixer's name."""
    language: str
    """The language's name."""
    seeds: int
    """The number of seeds."""
    chance: float
    """The chance level on Bin1."""
    lengths: tuple[int, int]
    """The shortest and longest length of the unseen strings."""
    results: tuple[RuleResult, ...]
    """The results of each rule."""

    def result(self, rule: Rule) -> RuleResult:
        """The results of one rule."""
        return next(result for result in self.results if result.rule == rule)

    def gains(self, rule: Rule, over: Rule = "strict") -> tuple[float, ...]:
        """The difference of each seed's accuracy on unseen strings between two rules."""
        pairs = zip(self.result(rule).unseen_seeds, self.result(over).unseen_seeds, strict=True)
        return tuple(one - other for one, other in pairs)

    def split_gains(self) -> list[tuple[float, float]]:
        """The gain of each seed on Bin1 of the paper's rule over the strict rule, in two parts.

        The first part arises because the strict rule ends the training earlier. The second arises because it selects
        another evaluation of the same training.
        """
        strict, paper = self.result("strict"), self.result("paper")
        seeds = zip(strict.longer_seeds, strict.to_the_end_seeds, paper.longer_seeds, strict=True)
        return [(to_the_end - reported, best - to_the_end) for reported, to_the_end, best in seeds]


class Selection(Study):
    """The runs of the paper's table with four checkpoints, one of each selection rule.

    - paper: the best on both bins.
    - strict: the best on strings of the training lengths (Bin0).
    - last: the last one.
    - oracle: the best on the reported strings themselves.
    """

    title = "How much of a reported number is selection"
    question = "How much does the reported accuracy depend on the rule that selects the checkpoint?"
    records_of = Irie2023.records_of
    template_mixer = Irie2023.template_mixer

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """The runs of the paper's table. quick: only parity and (aa)*."""
        every = Irie2023().runs(quick=False, seeds=seeds)
        return [run for run in every if run.language in ("parity", "aa_star")] if quick else every

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[SelectionRow]:
        """One row for each cell. It has the results of all rules and does not depend on `rule`."""
        found = list(records)
        tables = [Irie2023().rows(found, each) for each in RULES]
        cells = by_cell(found)
        return [_row(same, cell_members(cells[same[0].language, same[0].model])) for same in zip(*tables, strict=True)]

    def notes(self, rows: Sequence[SelectionRow]) -> str:
        """The part of the gain from a longer training, and the part from the choice among the same evaluations."""
        split = [[100 * gain for gain in both] for cell in rows for both in cell.split_gains()]
        differing = [both for both in split if abs(sum(both)) > 1]
        if not differing:
            return "No seed differs on Bin1 by more than a point between the paper's rule and the strict one."
        stopping, choosing = zip(*differing, strict=True)
        return (
            f"{len(differing)} of {len(split)} seeds differ on Bin1 by more than a point between the paper's "
            f"rule and the strict one: by {spread([sum(both) for both in differing]).median:+.1f} (median, points); "
            f"{spread(stopping).median:+.1f} because the strict rule ends the training, "
            f"{spread(choosing).median:+.1f} because it chooses among the evaluations without Bin1."
        )

    def figures(self) -> Mapping[str, Draw]:
        """The figures of the runs."""
        return {"lengths": self.draw_lengths, "curves": self.draw_curves, "steps": self.draw_steps}

    def facts(self, rows: Sequence[SelectionRow]) -> list[dict[str, Any]]:
        """The rows as JSON values, with the results under the names of the rules."""
        return [
            {"mixer": cell.mixer, "language": cell.language, "seeds": cell.seeds, "chance": cell.chance}
            | {"unseen_lengths": list(cell.lengths)}
            | {result.rule: asdict(result) | result.medians for result in cell.results}
            | {f"gain_{rule}": spread(cell.gains(rule)).median for rule in GAINING}
            | {f"gain_{rule}_seeds": list(cell.gains(rule)) for rule in GAINING}
            for cell in rows
        ]

    def render(self, rows: Sequence[SelectionRow]) -> Table:
        """The median accuracies on unseen longer strings, and the accuracies that each rule itself would report."""
        table = Table(
            header_style="bold",
            caption=(
                "Strings with every label right, in percent, median over seeds. The strings have the lengths beside "
                "the language, and no rule uses them for selection (except the oracle, up to length 100). A language "
                "with one string of each length is tested on longer strings than those of Bin1. In brackets: what the "
                "rule itself would report, that is, the solved seeds and the median on Bin1. Gain: the difference to "
                "the strict rule for the same seed, median, lowest to highest. To the end: the accuracy on Bin1 of "
                "strict and last if they used all evaluations, not only those until Bin0 was at 100 % ten times in a "
                "row. Steps: the steps that strict and paper selected, medians."
            ),
            caption_justify="left",
        )
        gains = ("gain, paper\nlow to high", "gain, oracle\nlow to high")
        longer = "to the end\nsteps"
        for name in ("model\nseeds; guess", *(f"{rule}\nsolved, Bin1" for rule in RULES), *gains, longer):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, _heading, _texts)
        return table


def _row(rows: tuple[Row, ...], members: Sequence[Member]) -> SelectionRow:
    first = rows[0]
    longer = list(zip(first.test, first.fresh, strict=True))[1:]  # without the lengths of training
    lengths = next((shortest, longest) for (shortest, longest, _), fresh in longer if fresh)
    results = tuple(_rule_result(row, members, lengths) for row in rows)
    return SelectionRow(first.model, first.language, first.seeds, first.chance_bin1, lengths, results)


def _rule_result(row: Row, members: Sequence[Member], lengths: tuple[int, int]) -> RuleResult:
    unseen = next(shares for shortest, longest, shares in row.test if (shortest, longest) == lengths)
    read_at = spread([member.selected.get(row.rule, 0) for member in members]).median
    to_the_end = tuple(_to_the_end(row.rule, member) for member in members)
    return RuleResult(row.rule, row.solved, row.bin1, unseen, read_at, to_the_end)


def _to_the_end(rule: Rule, member: Member) -> float:
    """The accuracy on Bin1 of the rule's choice among all checks of the training; 0 if there was no check."""
    best = max(member.checks, key=partial(merit, rule), default=None)
    return best.bin1_accuracy if best else 0.0


def _heading(cell: SelectionRow) -> str:
    shortest, longest = cell.lengths
    return f"{cell.language}  {shortest}-{longest}"


def _texts(cell: SelectionRow) -> list[str]:
    medians = {result.rule: result.medians for result in cell.results}
    shown = [
        f"{percent(medians[r.rule]['unseen'])}\n[dim]({r.solved}, {percent(medians[r.rule]['longer'])})[/dim]"
        for r in cell.results
    ]
    gains = [[100 * gain for gain in cell.gains(rule)] for rule in GAINING]
    texts = [f"{spread(each).median:+.1f}\n[dim]{min(each):+.1f} to {max(each):+.1f}[/dim]" for each in gains]
    longer = ", ".join(percent(medians[rule]["to_the_end"]) for rule in IN_DISTRIBUTION_RULES)
    steps = ", ".join(f"{cell.result(rule).read_at:,.0f}" for rule in ("strict", "paper"))
    return [
        f"{cell.mixer}\n[dim]{cell.seeds}; {percent(cell.chance)}[/dim]",
        *shown,
        *texts,
        f"{longer}\n[dim]{steps}[/dim]",
    ]
