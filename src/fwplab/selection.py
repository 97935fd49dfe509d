"""The selection rules and the stop conditions, applied to a member after each check during training."""

import math
from dataclasses import dataclass, field

from fwplab.checkpoint import clone_weights
from fwplab.population import Weights
from fwplab.record import Check, MemberProgress, Status
from fwplab.run import Protocol, Rule

IN_DISTRIBUTION_RULES: tuple[Rule, ...] = ("strict", "last")
"""The rules that must not depend on strings longer than those of training, not even through the end of training."""


@dataclass
class LearningMember:
    """The state of one member during training, besides its weights and its optimiser. A saved state has these names."""

    seed: int
    """The member's seed."""
    learning_rate: float
    """The member's learning rate."""
    status: Status | None = None
    """Why its training ended; None while it is trained."""
    steps: int = 0
    """The number of steps it has been trained for."""
    train_loss: float = math.nan
    """The loss of its last batch."""
    checks: list[Check] = field(default_factory=list)
    """The results of all checks so far."""
    chosen: dict[Rule, tuple[int, Weights]] = field(default_factory=dict)
    """The step and the weights of each rule's best check so far."""
    perfect_bin0: int = 0
    """The number of consecutive checks, up to the last, with Bin0 at 100 %."""
    perfect_both: int = 0
    """The number of consecutive checks, up to the last, with both bins at 100 %."""
    generalised: bool = False
    """Whether both bins have been at 100 % at some check."""
    settled: bool = False
    """Whether Bin0 has been at 100 % for `patience` checks in a row."""

    def apply_check(self, check: Check, weights: Weights, protocol: Protocol) -> None:
        """Adds a check, keeps the weights for each rule under which it is the best, and sets the status at an end."""
        copy: Weights | None = None
        for rule in protocol.rules:
            if self.settled and rule in IN_DISTRIBUTION_RULES:
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
        """The member's progress, for an observer."""
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
    """The quantity that a rule maximises over all checks. Of equal checks, the first is kept."""
    if rule == "paper":
        return (check.bin0_accuracy + check.bin1_accuracy,)
    if rule == "strict":
        return (check.bin0_accuracy, -check.bin0_loss)
    if rule == "oracle":
        return (check.oracle_accuracy or 0.0,)
    return (check.step,)
