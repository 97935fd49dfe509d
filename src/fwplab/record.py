"""The result of a run, and its progress during training. Tables, figures and reports are made from records alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fwplab.languages.splits import SplitSummary
from fwplab.run import Rule, Run

Status = Literal["solved", "budget", "diverged"]
"""Why the training of a member ended.

- "solved": the protocol's stop condition was met.
- "budget": all steps were used.
- "diverged": a gradient was not finite.
"""


@dataclass(frozen=True)
class Check:
    """One evaluation of a member during training.

    A string counts as correct if all its labels are; accuracies are shares of correct strings, in [0, 1].
    """

    step: int
    """The number of training steps before the check."""
    train_loss: float
    """The loss of the last training batch."""
    bin0_loss: float
    """The mean loss of a position in Bin0 (lengths of training)."""
    bin0_accuracy: float
    """The accuracy on Bin0."""
    bin1_loss: float
    """The mean loss of a position in Bin1 (longer strings)."""
    bin1_accuracy: float
    """The accuracy on Bin1."""
    oracle_accuracy: float | None = None
    """The accuracy on the reported test strings; None unless the protocol has `oracle`."""


@dataclass(frozen=True)
class Score:
    """The result of one selected checkpoint on one split."""

    rule: Rule
    """The rule that selected the checkpoint."""
    split: str
    """The split: "bin0" or "bin1", on which the paper's rule selects, or "test", on which only "oracle" does."""
    shortest: int
    """The shortest length of the split's strings."""
    longest: int
    """The longest length."""
    strings: int
    """The number of strings."""
    correct: int
    """The number of strings that are labelled correctly at every position."""

    @property
    def accuracy(self) -> float:
        """The share of correct strings, in [0, 1]; nan for an empty split."""
        return self.correct / self.strings if self.strings else math.nan


@dataclass(frozen=True)
class Measurement:
    """A value that a study measured on a selected checkpoint after training."""

    study: str
    """The name of the study."""
    rule: Rule
    """The rule that selected the checkpoint."""
    length: int
    """The length of the strings that were used."""
    name: str
    """The name of the quantity."""
    value: float
    """Its value."""


@dataclass(frozen=True)
class Chance:
    """The accuracies of two guesses on a split, in [0, 1]."""

    split: str
    """The name of the split."""
    shortest: int
    """The shortest length of its strings."""
    longest: int
    """The longest length."""
    majority: float
    """The accuracy of the most frequent label, guessed at every position."""
    symbolwise: float
    """The accuracy of the most frequent label of the current symbol."""


@dataclass(frozen=True)
class Member:
    """The result of one seed."""

    seed: int
    """The seed."""
    learning_rate: float
    """Its learning rate."""
    status: Status
    """Why its training ended."""
    steps: int
    """The number of steps it was trained for."""
    checks: tuple[Check, ...]
    """All checks in order."""
    selected: dict[str, int]
    """The step of the checkpoint that each rule selected."""
    scores: tuple[Score, ...]
    """The results of the selected checkpoints, one for each rule and split."""
    measured: tuple[Measurement, ...] = ()
    """What studies measured later."""

    @property
    def solved_at(self) -> int | None:
        """The step of the first check with Bin0 and Bin1 at 100 %, None if there was none."""
        return next((check.step for check in self.checks if check.bin0_accuracy == check.bin1_accuracy == 1), None)

    def watched_until(self, max_steps: int) -> int:
        """The step until which it is known whether the member had solved its language, for a survival curve.

        A member that used all its steps, or diverged, is known not to solve it within `max_steps`. A member that a stop
        condition on Bin0 alone ended earlier is known up to its last step.
        """
        if self.solved_at is not None:
            return self.solved_at
        return self.steps if self.status == "solved" else max_steps

    def score(self, rule: Rule, split: str, shortest: int | None = None) -> Score | None:
        """The score of a rule's checkpoint on a split; None if there is none."""
        for score in self.scores:
            if score.rule == rule and score.split == split and shortest in (None, score.shortest):
                return score
        return None

    def measurement(self, study: str, rule: Rule, length: int, name: str) -> float | None:
        """A value that a study measured; None if it has not been measured."""
        wanted = study, rule, length, name
        return next((m.value for m in self.measured if (m.study, m.rule, m.length, m.name) == wanted), None)


@dataclass(frozen=True)
class Record:
    """The result of a run, with the data that is needed to judge and to repeat it."""

    run: Run
    """The specification."""
    members: tuple[Member, ...]
    """The result of every seed."""
    parameters: int
    """The number of trained parameters of the model."""
    state_size: int
    """The number of values that the model carries from one position to the next."""
    splits: tuple[SplitSummary, ...]
    """The sizes of the training, validation and test sets."""
    chance: tuple[Chance, ...]
    """The accuracies of guessing, for each split."""
    environment: dict[str, str]
    """The versions, the machine, the number of threads, and the implementations of the operators."""
    seconds: float
    """The seconds spent on training."""


def merge(records: Sequence[Record]) -> Record:
    """Merges records that differ in their seeds and learning rates alone into one.

    The members are ordered by seed, and the training times are added. An entry of the environment that differs lists
    all its values.
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
    """The progress of one member. Losses and accuracies are the latest ones, None before the first."""

    seed: int
    """The member's seed."""
    train_loss: float | None
    """The loss of the last training batch."""
    bin0_loss: float | None
    """The mean loss of a position in Bin0 at the last check."""
    bin0_accuracy: float | None
    """The accuracy on Bin0 at the last check."""
    bin1_accuracy: float | None
    """The accuracy on Bin1 at the last check."""
    status: Status | None
    """Why training ended; None during training."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run."""

    key: str
    """The key of the run."""
    step: int
    """The number of steps so far."""
    max_steps: int
    """The largest number of steps."""
    members: tuple[MemberProgress, ...]
    """The progress of every member."""
