"""The rows of the table of results: one for each cell, that is, a mixer on a language."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.recipes.history import History
from fwplab.recipes.recipe import recipes
from fwplab.tables.statistics import survival, wilson
from fwplab.training.record import Member, Record
from fwplab.training.run import Rule, Run

LengthScores = tuple[int, int, tuple[float, ...]]
"""The shortest and longest length of a test set, and the accuracy of each seed."""

CLAIMS = ("solves", "fails", "")
FEWEST = 3
"""The least number of seeds for which a claim is judged."""


@dataclass(frozen=True)
class Row:
    """The results of one cell.

    Accuracies are shares of strings with the correct label at every position. A seed that diverged before its first
    check has no checkpoint; its accuracy is 0. The chance level is the better of two guesses: the majority label at all
    positions, or the most frequent label of each symbol.
    """

    mixer: str
    """The mixer's name."""
    language: str
    """The language's name."""
    seeds: int
    """The number of seeds."""
    solved: int
    """The number of seeds with Bin0 and Bin1 at 100 %."""
    diverged: int
    """The number of seeds that diverged."""
    rule: Rule
    """The selection rule of the checkpoints."""
    bin0: tuple[float, ...]
    """The accuracy of each seed on Bin0, which has the lengths of training."""
    bin1: tuple[float, ...]
    """The accuracy of each seed on Bin1, which has longer strings."""
    test: tuple[LengthScores, ...]
    """The accuracies on each test set."""
    fresh: tuple[bool, ...]
    """For each test set, whether its strings differ from those of Bin0 and Bin1."""
    chance_bin0: float
    """The chance level on Bin0."""
    chance_bin1: float
    """The chance level on Bin1."""
    parameters: int
    """The number of parameters of a model."""
    state_size: int
    """The number of values in a model's state."""
    steps: tuple[int, ...]
    """The number of training steps of each seed."""
    solved_at: tuple[int | None, ...]
    """The step of each seed's first check with both bins at 100 %; None if there was none."""
    max_steps: int
    """The most steps that a seed may train."""
    evaluations: tuple[int, ...]
    """How often each seed was evaluated on the bins. Each evaluation is a chance for a rule that selects the best."""
    claim: str
    """What the paper claims: one of `CLAIMS`, empty if it claims nothing."""
    verdict: str
    """Whether the claim was reproduced (see `verdict`)."""
    found_by: History | None
    """Where the numbers of the recipe come from; None for a run without a recipe."""
    start: str = ""
    """The name of the recipe's start, if it is not the published one (see `Recipe.start`)."""

    @property
    def model(self) -> str:
        """The mixer's name and the start (see `model_name`)."""
        return _named(self.mixer, self.start)

    @property
    def reproduced(self) -> bool:
        """Whether every seed agrees with the claim."""
        return self.verdict.startswith("reproduced")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the share of seeds that solve the cell."""
        return wilson(self.solved, self.seeds)


def row(records: Sequence[Record], rule: Rule, claim: str, found_by: History | None = None) -> Row:
    """The row of one cell. Its members may be in several records; a member that occurs twice counts once.

    records: finished runs that differ in their members only.
    rule: the selection rule of the checkpoints.
    claim: one of `CLAIMS`.
    found_by: where the numbers of the recipe come from.

    Raises `UserError` if the records differ in more than their members, or have no checkpoints of the rule.
    """
    first = _only_spec(records)
    require_rule(first.run, rule)
    start = start_of(first.run)
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
        evaluations=tuple(len(member.checks) for member in members),
        claim=claim,
        verdict=verdict(claim, solved, len(members)) + (f" ({start})" if claim and start else ""),
        found_by=found_by,
        start=start,
    )


def require_rule(run: Run, rule: Rule) -> None:
    """Raises `UserError` if a run has no checkpoints of this rule. Else its zeros would look like a result."""
    if rule not in run.protocol.rules:
        choices = ", ".join(run.protocol.rules)
        raise UserError(
            f"the runs of {run.mixer_name} on {run.language} kept no checkpoint for the rule {rule!r}; "
            f"choose from: {choices}"
        )


def is_fresh(record: Record, window: tuple[int, int]) -> bool:
    """Whether the test strings of these lengths differ from those of Bin0 and Bin1.

    They differ by construction if the language has enough strings. If it has, for example, one string of each length,
    all sets with these lengths have the same strings, and fewer than requested. An imported corpus may have any string:
    the record counts those that are in it.
    """
    spec = record.run.protocol.splits
    shortest, longest = window
    met = [s for s in record.splits if s.split in ("bin0", "bin1") and s.shortest <= longest and shortest <= s.longest]
    own = next(s for s in record.splits if s.split == "test" and (s.shortest, s.longest) == window)
    if record.run.corpus:
        return own.in_train == 0
    return own.strings >= spec.test_strings or all(split.strings >= spec.validation_strings for split in met)


def rows_of(records: Iterable[Record], rule: Rule) -> list[Row]:
    """The rows of runs without claims, one for each cell."""
    return [row(found, rule, "") for found in by_cell(records).values()]


def verdict(claim: str, solved: int, seeds: int) -> str:
    """Whether `solved` of `seeds` seeds reproduce a claim.

    It is empty without a claim, and "open" if there are fewer than `FEWEST` seeds.

    claim: one of `CLAIMS`.

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
    """The cell of a run in the table: its language and its model."""
    return run.language, model_name(run)


def model_name(run: Run) -> str:
    """The mixer's name; for another start than the published one, with the name of that start."""
    return _named(run.mixer_name, start_of(run))


def start_of(run: Run) -> str:
    """The name of the run's start, from the recipe with the same switches of the mixer; empty for the published one."""
    for each in recipes(run.language, run.mixer_name):
        if each.start and (each.mixer, each.trained_as) == (run.mixer, run.trained_as):
            return each.start
    return f"trained as {MIXERS.name_of(type(run.trained_as))}" if run.trained_as else ""


def _named(mixer: str, start: str) -> str:
    return f"{mixer}, {start}" if start else mixer


def by_cell(
    records: Iterable[Record], name: Callable[[Run], tuple[str, str]] = cell_of
) -> dict[tuple[str, str], list[Record]]:
    """Groups records by cell. `name` gives the cell of a run.

    Raises `UserError` if the records of a cell differ in more than their members.
    """
    cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[name(record.run)].append(record)
    for found in cells.values():
        _only_spec(found)
    return dict(cells)


def unsolved(members: Sequence[Member], max_steps: int) -> list[tuple[float, float]]:
    """The Kaplan-Meier curve of members that have not solved their language: pairs of a step and a share."""
    times = [member.watched_until(max_steps) for member in members]
    return survival(times, [member.solved_at is not None for member in members])


def cell_members(records: Sequence[Record]) -> list[Member]:
    """All members of the records, sorted by seed, without repetition."""
    members = {(m.seed, m.learning_rate): m for record in records for m in record.members}
    return [members[which] for which in sorted(members)]


def accuracy(member: Member, rule: Rule, split: str, window: tuple[int, int] | None = None) -> float:
    """The share of correct strings in a split, or in one range of lengths of it; 0 for a member without a checkpoint.

    window: the shortest and the longest length; None for a split with one range of lengths.
    """
    correct, strings = count(member, rule, split, window)
    return correct / strings if strings else 0.0


def count(member: Member, rule: Rule, split: str, window: tuple[int, int] | None = None) -> tuple[int, int]:
    """The numbers of correct strings and of all strings; (0, 0) without a checkpoint. Arguments: as of `accuracy`."""
    for score in member.scores:
        if score.rule == rule and score.split == split and window in (None, (score.shortest, score.longest)):
            return score.correct, score.strings
    return 0, 0


def guess(record: Record, split: str, window: tuple[int, int] | None = None) -> float:
    """The chance level on a split: the accuracy of the better of two guesses. NaN if the record does not have it."""
    found = [
        max(chance.majority, chance.symbolwise)
        for chance in record.chance
        if chance.split == split and window in (None, (chance.shortest, chance.longest))
    ]
    return found[0] if found else math.nan


def best_by_claim(rows: Iterable[Row]) -> list[Row]:
    """One row for each claim: the first row that reproduces it, else the row that solves most seeds."""
    claims: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for each in rows:
        if each.claim:
            claims[each.language, each.mixer].append(each)
    return [max(found, key=lambda row: (row.reproduced, row.solved / row.seeds)) for found in claims.values()]


def missed(rows: Iterable[Row]) -> list[Row]:
    """The rows with a recipe, of the claims that no row reproduces in every seed.

    Such a failure may be due to the recipe. So its search is shown with it.
    """
    found = list(rows)
    failed = {(row.language, row.mixer) for row in best_by_claim(found) if not row.reproduced}
    return [row for row in found if row.found_by and (row.language, row.mixer) in failed]


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
    """The fields in which two specs differ, without the fields that describe the members."""
    of_members = ("seeds", "learning_rates", "population")
    names = [field.name for field in dataclasses.fields(Run) if field.name not in of_members]
    return [name for name in names if getattr(one, name) != getattr(other, name)]
