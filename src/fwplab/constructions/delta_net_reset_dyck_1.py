"""DeltaNet counts brackets and forgets the count at a reset."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SHUT, Layout
from fwplab.languages.reset_dyck_1 import ResetDyck1
from fwplab.mixers import MixerSpec
from fwplab.mixers.delta_net import DeltaNet
from fwplab.model import Model, ModelSpec

OPEN, CLOSE, RESET = range(3)
HALVINGS = 115
"""The write strength of a bracket is about `2^-115`; its inverse is still a float32."""


@dataclass(frozen=True)
class DeltaNetResetDyck1(Construction):
    """Reset Dyck-1 by the delta rule: writes too weak to forget, and one so strong that nothing else is left.

    Two heads, one for each bracket, of which the first row of W is a number w. A head's key is the first unit vector
    when its own bracket or the reset is read, and the second, under which only rubbish is kept, otherwise. It is
    exactly a unit vector: `elu + 1` of a shut gate is 0, and 1 divided by a sum of 1 is 1.

    A bracket has rate `beta = sigmoid(-B)`, about 2^-115, and value `V = 2^115` in its own head:
    `w <- (1 - beta) w + beta V`. After m of them `w = V (1 - (1 - beta)^m) = f(m)`, which rises with m by
    `beta V (1 - beta)^m`. No weights make this a counter without a leak, as the rule's transition is the smaller the
    more it writes; but f rises, so that f(opening) > f(closing) exactly when the depth is above 0, and a readout that
    compares the difference with `beta V / 2` is right while `(1 - beta)^m > 1/2`: for 10^34 brackets.
    The reset has rate `sigmoid(B')`, 1 after rounding, and value 0: `w <- w - w = 0` in both heads.

    Precision ends it sooner. In `w + beta (V - w)` the leak is far below rounding and what is added is always the same
    number, near 1; both heads round alike. They stand still where that number is half a unit of w or less, at `2^p`,
    or, as it is not exactly 1, up to a factor of 2 later: from `2^(p+1) + 1` to `2^(p+2) + 1` symbols, of which
    `breaks_at` says the first.
    """

    @property
    def task(self) -> ResetDyck1:
        return ResetDyck1()

    @property
    def mixer(self) -> MixerSpec:
        return DeltaNet()

    @property
    def shape(self) -> ModelSpec:
        return ModelSpec(hidden=8, layers=1, heads=2, feed_forward_factor=1)

    def breaks_at(self, dtype: torch.dtype) -> float:
        return 4 / torch.finfo(dtype).eps + 1

    def hardest(self, length: int) -> str:
        return "(" * (length - length // 2) + ")" * (length // 2)

    def random_word(self, length: int, generator: np.random.Generator) -> str:
        return self.task.sample([length], generator)[0]

    def set_weights(self, model: Model) -> None:
        layout = Layout(len(self.task.symbols), self.shape.hidden)
        layout.embed(model)
        mixer: Any = model.mixers[0]
        logit = -HALVINGS * math.log(2)
        d = mixer.head_width
        for head, own, other in ((0, OPEN, CLOSE), (1, CLOSE, OPEN)):
            query, key, value, rate = mixer.slow_net.weight.unflatten(0, (2, -1))[head].split([d, d, d, 1])
            query[1:], key[2:] = layout.row(constant=-SHUT), layout.row(constant=-SHUT)
            key[0], key[1] = layout.gate(frozenset((own, RESET))), layout.gate(frozenset((other,)))
            value[0] = layout.row({own: 2.0**HALVINGS})
            rate[0] = layout.row({RESET: SHUT - logit}, constant=logit)
            mixer.out_linear.weight[layout.slot(0), head * d] = 1 if own == OPEN else -1
        model.readout.weight[1, layout.slot(0)] = 1
        model.readout.bias[1] = -0.5
