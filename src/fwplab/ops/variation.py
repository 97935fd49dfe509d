"""Variations of the rules of Recurrent Delta and SRWM, with other parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import elu, normalize

from fwplab.errors import UserError
from fwplab.ops.scan import Forms, Scan

PARTS = ("value", "query", "key", "rate")
CHOICES = {
    "update": ("delta", "additive"),
    "feedback": ("tanh", "raw"),
    "normalisation": ("softmax", "sum", "l2", "none"),
    "rate": ("sigmoid", "double", "fixed"),
}
"""The choices for each part, the paper's first. The kernels use their indices."""


@dataclass(frozen=True)
class Variation:
    """The parts of a rule of arXiv 2310.16076. The defaults are the paper's.

    - `update`: "delta" erases the value that is stored under the key before it writes; "additive" only adds.
    - `feedback`: what `recurrent_delta` feeds back: "tanh" of the last output, or the output itself ("raw").
    - `normalisation`: of query and key. "softmax"; "sum": `elu + 1` divided by its sum; "l2": the vector divided by its
      length, with signs; "none": `elu + 1`.
    - `rate`: of the update. "sigmoid", "double": twice a sigmoid, "fixed": 1.
    - `rewritten`: the blocks of `srwm` that are updated; the others are constant. "value" is `W_y`.
    """

    update: Literal["delta", "additive"] = "delta"
    feedback: Literal["tanh", "raw"] = "tanh"
    normalisation: Literal["softmax", "sum", "l2", "none"] = "softmax"
    rate: Literal["sigmoid", "double", "fixed"] = "sigmoid"
    rewritten: tuple[str, ...] = PARTS

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; choose from: {', '.join(choices)}")
        for part in self.rewritten:
            if part not in PARTS:
                raise UserError(f"no block {part!r} rewrites itself; choose from: {', '.join(PARTS)}")

    @property
    def code(self) -> int:
        """The variation as the bits that `cpu/variation.h` reads; 0 is the paper's rule."""
        still = sum(1 << place for place, part in enumerate(PARTS) if part not in self.rewritten)
        fields = (
            (CHOICES["normalisation"].index(self.normalisation), 0),
            (CHOICES["rate"].index(self.rate), 2),
            (CHOICES["feedback"].index(self.feedback), 4),
            (CHOICES["update"].index(self.update), 5),
            (still, 6),
        )
        return sum(value << place for value, place in fields)

    @classmethod
    def from_code(cls, code: int) -> "Variation":
        """The inverse of `code`."""
        return cls(
            update=CHOICES["update"][code >> 5 & 1],  # type: ignore[arg-type]
            feedback=CHOICES["feedback"][code >> 4 & 1],  # type: ignore[arg-type]
            normalisation=CHOICES["normalisation"][code & 3],  # type: ignore[arg-type]
            rate=CHOICES["rate"][code >> 2 & 3],  # type: ignore[arg-type]
            rewritten=tuple(part for place, part in enumerate(PARTS) if not code >> 6 + place & 1),
        )

    def phi(self, features: Tensor) -> Tensor:
        """The normalisation of query and key, over the last dimension."""
        if self.normalisation == "softmax":
            return features.softmax(-1)
        if self.normalisation == "l2":
            return normalize(features, dim=-1)
        positive = elu(features) + 1
        return positive / positive.sum(-1, keepdim=True) if self.normalisation == "sum" else positive

    def rho(self, logits: Tensor) -> Tensor:
        """The rate of the update."""
        if self.rate == "fixed":
            return torch.ones_like(logits)
        return torch.sigmoid(logits) * (2 if self.rate == "double" else 1)

    def squash(self, last: Tensor) -> Tensor:
        """The feedback, from the last output."""
        return torch.tanh(last) if self.feedback == "tanh" else last


PAPER = Variation()


def varied(rule: str, forms: Forms, variation: Variation, fixed: str) -> Forms:
    """The forms of a rule that can compute a variation.

    fixed: the field of the variation that this rule does not have.
    """
    if variation == PAPER:
        return forms
    if getattr(variation, fixed) != getattr(PAPER, fixed):
        raise UserError(
            f"{rule} has no {fixed} to vary; choose from: {', '.join(name for name in vars(PAPER) if name != fixed)}"
        )
    able: dict[str, Callable[..., Scan]] = {"reference": forms["reference"], "cpu": forms["cpu"]}
    return {name: partial(form, variation=variation) for name, form in able.items()}
