"""What a run leaves behind: everything that people look at is read from here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwplab.languages.splits import SplitSummary
from fwplab.run import Rule, Run

Status = Literal["solved", "budget", "diverged"]


@dataclass(frozen=True)
class Check:
    """One look at a member during training; accuracies are shares of whole strings that are right everywhere.

    `oracle_accuracy` is that of the strings that are reported, None where the protocol does not look at them.
    """

    step: int
    train_loss: float
    bin0_loss: float
    bin0_accuracy: float
    bin1_loss: float
    bin1_accuracy: float
    oracle_accuracy: float | None = None


@dataclass(frozen=True)
class Score:
    """Strings of one split that a selected checkpoint labels right at every position.

    `split` is "bin0", "bin1" (both seen by the paper's selection) or "test" (seen by none).
    """

    rule: Rule
    split: str
    shortest: int
    longest: int
    strings: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The share of right strings."""
        return self.correct / self.strings if self.strings else math.nan


@dataclass(frozen=True)
class Measurement:
    """What a study found out later about the checkpoint that a rule chose: a named value at one length of string."""

    study: str
    rule: Rule
    length: int
    name: str
    value: float


@dataclass(frozen=True)
class Chance:
    """What guessing scores on a split: always the majority label, and the best label for each symbol alone."""

    split: str
    shortest: int
    longest: int
    majority: float
    symbolwise: float


@dataclass(frozen=True)
class Member:
    """One seed. `status`: "solved" met the protocol's stop, "budget" used all steps, "diverged" had a non-finite
    gradient after `steps` steps and was dropped. `selected` gives the step of each rule's checkpoint."""

    seed: int
    learning_rate: float
    status: Status
    steps: int
    checks: tuple[Check, ...]
    selected: dict[str, int]
    scores: tuple[Score, ...]
    measured: tuple[Measurement, ...] = ()

    @property
    def solved_at(self) -> int | None:
        """The step of the first check at which Bin0 and Bin1 were at 100 %, None if there was none."""
        return next((check.step for check in self.checks if check.bin0_accuracy == check.bin1_accuracy == 1), None)

    def watched_until(self, max_steps: int) -> int:
        """The step up to which it is known whether the member has solved its language.

        What used up its steps or diverged never will: it is watched to `max_steps`. A member that stopped before, by a
        rule that looks at Bin0 alone, is watched as long as it was trained.
        """
        if self.solved_at is not None:
            return self.solved_at
        return self.steps if self.status == "solved" else max_steps

    def score(self, rule: Rule, split: str, shortest: int | None = None) -> Score | None:
        """The score of one split under one rule, None where the member never had such a checkpoint."""
        for score in self.scores:
            if score.rule == rule and score.split == split and shortest in (None, score.shortest):
                return score
        return None

    def measurement(self, study: str, rule: Rule, length: int, name: str) -> float | None:
        """The value that a study measured, None where it has not."""
        wanted = study, rule, length, name
        return next((m.value for m in self.measured if (m.study, m.rule, m.length, m.name) == wanted), None)


@dataclass(frozen=True)
class Record:
    """The result of a run, with all that a reader needs to judge and repeat it.

    `environment` holds versions, machine, threads and the chosen backend; `seconds` is the time spent on training.
    """

    run: Run
    members: tuple[Member, ...]
    parameters: int
    state_size: int
    splits: tuple[SplitSummary, ...]
    chance: tuple[Chance, ...]
    environment: dict[str, str]
    seconds: float


def merge(records: Sequence[Record]) -> Record:
    """One record of the members of several that have their spec in common; by seed, times added up.

    What differs in the environments is written one after the other.
    """
    members = sorted((member for record in records for member in record.members), key=lambda member: member.seed)
    names = dict.fromkeys(name for record in records for name in record.environment)
    seen = {name: dict.fromkeys(r.environment[name] for r in records if name in r.environment) for name in names}
    return replace(
        records[0],
        run=replace(
            records[0].run,
            seeds=tuple(member.seed for member in members),
            learning_rates=tuple(member.learning_rate for member in members),
        ),
        members=tuple(members),
        environment={name: "; ".join(values) for name, values in seen.items()},
        seconds=sum({record.run.key: record.seconds for record in records}.values()),
    )


@dataclass(frozen=True)
class MemberProgress:
    """Where one member stands: its last losses and accuracies (None before there are any), its status once it ended."""

    seed: int
    train_loss: float | None
    bin0_loss: float | None
    bin0_accuracy: float | None
    bin1_accuracy: float | None
    status: Status | None


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    key: str
    step: int
    max_steps: int
    members: tuple[MemberProgress, ...]
