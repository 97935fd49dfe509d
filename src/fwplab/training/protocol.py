"""How a run is trained and judged. Importing it does not import PyTorch."""

import math
from dataclasses import dataclass, field
from typing import Literal

from fwplab.data.splits import SplitSpec
from fwplab.errors import UserError

Schedule = Literal["constant", "cosine"]
SCHEDULES: tuple[Schedule, ...] = ("constant", "cosine")

Rule = Literal["paper", "strict", "last", "oracle"]
RULES: tuple[Rule, ...] = ("paper", "strict", "last", "oracle")
"""The rules that select a member's checkpoint.

- "paper": the best mean accuracy on Bin0 and Bin1. This is the paper's rule; it sees longer strings than training does.
- "strict": the best accuracy on Bin0, which holds in-distribution strings only.
- "last": the last checkpoint.
- "oracle": the best accuracy on the reported test strings. It is no valid result, but an upper bound on what a better
  selection could gain.
"""

Stop = Literal["both_bins", "in_distribution", "every_rule"]
STOPS: tuple[Stop, ...] = ("both_bins", "in_distribution", "every_rule")
"""The conditions that end a member's training early: see `Protocol.stop`."""


@dataclass(frozen=True)
class Protocol:
    """How the members of a run are trained, when their training ends, and which checkpoint is reported.

    A check evaluates a member on Bin0 (lengths of training) and Bin1 (longer strings). There is one every `check_every`
    steps, one at the end of each epoch, and one after the last step.
    """

    selection: Rule = "paper"
    """The rule that selects the reported checkpoint."""
    stop: Stop = "both_bins"
    """The condition that ends a member's training early.

    - "both_bins": Bin0 and Bin1 are both at 100 % for `patience` checks in a row.
    - "in_distribution": Bin0 is at 100 % for `patience` checks in a row. Bin1 is recorded, but decides nothing.
    - "every_rule": both bins have been at 100 % at one check, and "in_distribution" has been fulfilled once. The rules
      "strict" and "last" ignore all checks after that second event. So one training serves every rule, and these two
      never depend on longer strings.
    """
    patience: int = 1
    """The number of consecutive checks at 100 % that `stop` requires."""
    oracle: bool = False
    """Whether each check also evaluates the reported test strings, for the rule "oracle"."""
    max_steps: int = 5_000
    """The number of steps after which training ends in any case."""
    schedule: Schedule = "constant"
    """The course of the learning rate: "constant", or "cosine" (half a cosine, which is zero at `max_steps`)."""
    batch_size: int = 64
    """The number of strings in a batch."""
    check_every: int = 50
    """The number of steps between two checks."""
    beta1: float = 0.9
    """Adam's decay rate of the mean of the gradients."""
    beta2: float = 0.995
    """Adam's decay rate of the mean of the squared gradients."""
    epsilon: float = 1e-9
    """Adam's constant in the denominator."""
    average: float = 0.0
    """The decay of an exponential moving average of the weights, which checks evaluate and checkpoints hold; 0 for the
    weights themselves. See `fwplab.training.averaging`."""
    splits: SplitSpec = field(default_factory=SplitSpec)
    """How many strings of which lengths are trained on, validated on and tested on."""

    def __post_init__(self) -> None:
        for name in ("patience", "max_steps", "batch_size", "check_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be a positive whole number, not {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise UserError(f"average must be 0 (off), or a decay below 1 such as 0.99, not {self.average}")
        for name, choices in (("selection", self.rules), ("stop", STOPS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; choose from: {', '.join(choices)}")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The selection rules that this protocol has checkpoints for."""
        return RULES if self.oracle else tuple(rule for rule in RULES if rule != "oracle")

    def rate_factor(self, step: int) -> float:
        """The factor in (0, 1] of the learning rate, for the step that follows `step` finished ones."""
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * step / self.max_steps)) / 2


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(),
    "strict": Protocol(selection="strict", stop="in_distribution", patience=10),
}
"""The paper's protocol, and a strict one in which longer strings neither select a checkpoint nor end a training."""
