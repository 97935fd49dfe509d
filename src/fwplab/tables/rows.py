"""The rows of a table: one a cell of model and language, its claim beside what was measured."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fwplab.errors import UserError
from fwplab.recipes.history import History
from fwplab.record import Member, Record
from fwplab.run import Rule, Run
from fwplab.tables.statistics import survival, wilson

LengthScores = tuple[int, int, tuple[float, ...]]
"""The shortest and longest length of a test set, and one accuracy a seed."""

CLAIMS = ("solves", "fails", "")
FEWEST = 3
"""Seeds from which a claim is judged."""


@dataclass(frozen=True)
class Row:
    """One cell. Accuracies are shares of whole strings right everywhere, one a seed, read under `rule`.

    A seed is solved when Bin0 and Bin1 are right to the last string. A seed that ended without a checkpoint
    (it diverged before the first check) labels nothing and stands with 0. Chance is the better of two guesses:
    the majority label everywhere, or the best label of each symbol. `fresh`: of each test set, whether its strings are
    others than those of the bins. `steps`: training steps of each seed; `solved_at`: the step of its first check that
    found both bins right. `looks`: how often the bins were looked at, each a chance for a rule that chooses the best.
    `found_by`: where the recipe's numbers come from, None of a run that has no recipe.
    """

    mixer: str
    language: str
    seeds: int
    solved: int
    diverged: int
    rule: Rule
    bin0: tuple[float, ...]
    bin1: tuple[float, ...]
    test: tuple[LengthScores, ...]
    fresh: tuple[bool, ...]
    chance_bin0: float
    chance_bin1: float
    parameters: int
    state_size: int
    steps: tuple[int, ...]
    solved_at: tuple[int | None, ...]
    max_steps: int
    looks: tuple[int, ...]
    claim: str
    verdict: str
    found_by: History | None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the share of seeds that solve the cell."""
        return wilson(self.solved, self.seeds)


def row(records: Sequence[Record], rule: Rule, claim: str, found_by: History | None = None) -> Row:
    """The row of one cell. Its members may be spread over several records; one found twice counts once.

    Raises `UserError` where the records differ in more than their members: no row can speak for two specs; and where
    the runs kept no checkpoint for the rule.
    """
    first = _only_spec(records)
    require_rule(first.run, rule)
    members = cell_members(records)
    bin0, bin1 = (tuple(accuracy(member, rule, split) for member in members) for split in ("bin0", "bin1"))
    solved = sum(a == b == 1.0 for a, b in zip(bin0, bin1, strict=True))
    windows = sorted({(split.shortest, split.longest) for split in first.splits if split.split == "test"})
    return Row(
        mixer=first.run.mixer_name,
        language=first.run.language,
        seeds=len(members),
        solved=solved,
        diverged=sum(member.status == "diverged" for member in members),
        rule=rule,
        bin0=bin0,
        bin1=bin1,
        test=tuple(
            (*window, tuple(accuracy(member, rule, "test", window) for member in members)) for window in windows
        ),
        fresh=tuple(is_fresh(first, window) for window in windows),
        chance_bin0=guess(first, "bin0"),
        chance_bin1=guess(first, "bin1"),
        parameters=first.parameters,
        state_size=first.state_size,
        steps=tuple(member.steps for member in members),
        solved_at=tuple(member.solved_at for member in members),
        max_steps=first.run.protocol.max_steps,
        looks=tuple(len(member.checks) for member in members),
        claim=claim,
        verdict=verdict(claim, solved, len(members)),
        found_by=found_by,
    )


def require_rule(run: Run, rule: Rule) -> None:
    """A `UserError` where a run kept no checkpoint for a rule: its zeros would look like a result."""
    if rule not in run.protocol.rules:
        choices = ", ".join(run.protocol.rules)
        raise UserError(
            f"the runs of {run.mixer_name} on {run.language} kept no checkpoint for the rule {rule!r}; "
            f"choose from: {choices}"
        )


def is_fresh(record: Record, window: tuple[int, int]) -> bool:
    """Whether the test strings of these lengths are others than those of Bin0 and Bin1.

    They are by construction where the language has enough. Where it has one string a length, say, every set of these
    lengths holds the same ones, and fewer than were asked for.
    """
    spec = record.run.protocol.splits
    shortest, longest = window
    met = [s for s in record.splits if s.split in ("bin0", "bin1") and s.shortest <= longest and shortest <= s.longest]
    own = next(s for s in record.splits if s.split == "test" and (s.shortest, s.longest) == window)
    return own.strings >= spec.test_strings or all(split.strings >= spec.validation_strings for split in met)


def rows_of(records: Iterable[Record], rule: Rule) -> list[Row]:
    """A row for each cell of runs of which nobody claims anything."""
    return [row(found, rule, "") for found in by_cell(records).values()]


def verdict(claim: str, solved: int, seeds: int) -> str:
    """What `solved` of `seeds` seeds mean for a claim, "solves" or "fails"; nothing where nothing is claimed, and open
    where the seeds are too few to say.

    >>> verdict("solves", 2, 3)
    'partly: 2 of 3 seeds'
    """
    if claim not in CLAIMS:
        raise ValueError(f"unknown claim {claim!r}; choose from: solves, fails, or nothing")
    if claim == "":
        return ""
    if seeds < FEWEST:
        return f"open: {seeds} of {FEWEST} seeds"
    if claim == "fails":
        return "reproduced" if solved == 0 else f"contradicted: {solved} of {seeds} seeds solve it"
    if solved == 0:
        return "not reproduced"
    return "reproduced" if solved == seeds else f"partly: {solved} of {seeds} seeds"


def cell_of(run: Run) -> tuple[str, str]:
    """The language and the mixer, which name a cell of the paper's table."""
    return run.language, run.mixer_name


def by_cell(
    records: Iterable[Record], name: Callable[[Run], tuple[str, str]] = cell_of
) -> dict[tuple[str, str], list[Record]]:
    """The records of each cell, by the name that `name` gives to a run's cell.

    Raises `UserError` where the records of a cell differ in more than their members.
    """
    cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[name(record.run)].append(record)
    for found in cells.values():
        _only_spec(found)
    return dict(cells)


def unsolved(members: Sequence[Member], max_steps: int) -> list[tuple[float, float]]:
    """The share of members that have not solved their language, after each step at which one has (Kaplan-Meier)."""
    times = [member.watched_until(max_steps) for member in members]
    return survival(times, [member.solved_at is not None for member in members])


def cell_members(records: Sequence[Record]) -> list[Member]:
    """All members of the records by seed, each once."""
    members = {(m.seed, m.learning_rate): m for record in records for m in record.members}
    return [members[which] for which in sorted(members)]


def accuracy(member: Member, rule: Rule, split: str, window: tuple[int, int] | None = None) -> float:
    """The share of right strings of a split, or of one window of it; 0 where the member left no checkpoint."""
    correct, strings = count(member, rule, split, window)
    return correct / strings if strings else 0.0


def count(member: Member, rule: Rule, split: str, window: tuple[int, int] | None = None) -> tuple[int, int]:
    """Right strings and all strings of a split, or of one window of it; (0, 0) where the member left no checkpoint."""
    for score in member.scores:
        if score.rule == rule and score.split == split and window in (None, (score.shortest, score.longest)):
            return score.correct, score.strings
    return 0, 0


def guess(record: Record, split: str, window: tuple[int, int] | None = None) -> float:
    """The better of the two guesses on a split; NaN where the record has none."""
    found = [
        max(chance.majority, chance.symbolwise)
        for chance in record.chance
        if chance.split == split and window in (None, (chance.shortest, chance.longest))
    ]
    return found[0] if found else math.nan


def missed(rows: Iterable[Row]) -> list[Row]:
    """The rows whose claim did not come out in every seed, and that have a recipe.

    A claim that failed is worth no more than the search that was tried.
    """
    return [row for row in rows if row.found_by and row.verdict not in ("", "reproduced")]


def _only_spec(records: Sequence[Record]) -> Record:
    if not records:
        raise ValueError("a row needs at least one record")
    first, *others = records
    for other in others:
        if differing := _differences(first.run, other.run):
            raise UserError(
                f"two runs of {first.run.mixer_name} on {first.run.language} differ in "
                f"{', '.join(differing)}; "
                "choose runs of one spec for a row"
            )
    return first


def _differences(one: Run, other: Run) -> list[str]:
    """The fields in which two specs differ; those that only say who the members are do not count."""
    free = ("seeds", "learning_rates", "population")
    names = [field.name for field in dataclasses.fields(Run) if field.name not in free]
    return [name for name in names if getattr(one, name) != getattr(other, name)]
