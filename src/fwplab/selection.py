"""Which checkpoint speaks for a member, and when the member is done: the rules, applied as training goes on."""

import math
from dataclasses import dataclass, field

from fwplab.checkpoint import clone_weights
from fwplab.population import Weights
from fwplab.record import Check, MemberProgress, Status
from fwplab.run import Protocol, Rule

BLIND: tuple[Rule, ...] = ("strict", "last")
"""The rules that may know nothing of strings longer than those of training, not even when training ended."""


@dataclass
class LearningMember:
    """A member while it learns."""

    seed: int
    learning_rate: float
    status: Status | None = None
    steps: int = 0
    train_loss: float = math.nan
    checks: list[Check] = field(default_factory=list)
    chosen: dict[Rule, tuple[int, Weights]] = field(default_factory=dict)
    perfect_bin0: int = 0
    """Checks in a row at which Bin0 was at 100 %, and"""
    perfect_both: int = 0
    """both bins were."""
    generalised: bool = False
    """Whether both bins ever were,"""
    settled: bool = False
    """or Bin0 was for `patience` checks in a row."""

    def take(self, check: Check, weights: Weights, protocol: Protocol) -> None:
        """Keeps the weights for every rule that prefers this check to all before, and ends if the protocol says so."""
        copy: Weights | None = None
        for rule in protocol.rules:
            if self.settled and rule in BLIND:
                continue
            best = max((merit(rule, earlier) for earlier in self.checks), default=(-math.inf,))
            if rule not in self.chosen or merit(rule, check) > best:
                copy = copy or clone_weights(weights)
                self.chosen[rule] = (check.step, copy)
        self.checks.append(check)
        if self._ends(check, protocol):
            self.status = "solved"
        elif check.step >= protocol.max_steps:
            self.status = "budget"

    def _ends(self, check: Check, protocol: Protocol) -> bool:
        bin0, both = check.bin0_accuracy == 1, check.bin0_accuracy == check.bin1_accuracy == 1
        self.perfect_bin0 = self.perfect_bin0 + 1 if bin0 else 0
        self.perfect_both = self.perfect_both + 1 if both else 0
        if protocol.stop == "every_rule":
            self.generalised |= both
            self.settled |= self.perfect_bin0 >= protocol.patience
            return self.generalised and self.settled
        return (self.perfect_both if protocol.stop == "both_bins" else self.perfect_bin0) >= protocol.patience

    def progress(self) -> MemberProgress:
        """What an observer sees."""
        last = self.checks[-1] if self.checks else None
        return MemberProgress(
            self.seed,
            None if math.isnan(self.train_loss) else self.train_loss,
            last.bin0_loss if last else None,
            last.bin0_accuracy if last else None,
            last.bin1_accuracy if last else None,
            self.status,
        )


def merit(rule: Rule, check: Check) -> tuple[float, ...]:
    """What a rule maximises; the first check that reaches the maximum is kept."""
    if rule == "paper":
        return (check.bin0_accuracy + check.bin1_accuracy,)
    if rule == "strict":
        return (check.bin0_accuracy, -check.bin0_loss)
    if rule == "oracle":
        return (check.oracle_accuracy or 0.0,)
    return (check.step,)
