"""DeltaNet counts brackets and erases the count at a reset."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import CLOSED, Layout
from fwplab.languages.reset_dyck_1 import ResetDyck1
from fwplab.mixers import MixerSpec
from fwplab.mixers.delta_net import DeltaNet
from fwplab.model import Model, ModelSpec

OPEN, CLOSE, RESET = range(3)
HALVINGS = 115
"""The rate of a bracket is about `2^-115`. Its inverse is still in the range of float32."""


@dataclass(frozen=True)
class DeltaNetResetDyck1(Construction):
    """Reset Dyck-1 by the delta rule: very weak writes count brackets, and one full-strength write is a reset.

    There are two heads, one per kind of bracket. Each uses a single number w, the first row of its matrix W. The key of
    a head is the first unit vector when its own bracket or the reset is read. Otherwise it is the second unit vector,
    whose row of W is never read. The key is exactly a unit vector: `elu + 1` of a closed gate is 0, and normalisation
    divides 1 by 1.

    In its own head a bracket has the rate `beta = sigmoid(-B)`, about 2^-115, and the value `V = 2^115`, so that
    `w <- (1 - beta) w + beta V`. After m brackets `w = V (1 - (1 - beta)^m) = f(m)`, and the next one adds
    `beta V (1 - beta)^m`. No weights make this an exact counter, since every write of the delta rule also shrinks w.
    But f is increasing, so that f(opening) > f(closing) exactly when the depth is above 0. A readout that compares the
    difference with `beta V / 2` is right while `(1 - beta)^m > 1/2`, which is for 10^34 brackets. The reset has the
    rate `sigmoid(B')`, which rounds to 1, and the value 0: `w <- w - w = 0` in both heads.

    Rounding ends the count sooner. In `w + beta (V - w)` the loss is far below the rounding error, and each bracket
    adds the same number, which is near 1. Both heads round alike. A count stops growing when that number is at most
    half the spacing of floats near w. This happens at `2^p` if the number is exactly 1, and up to a factor of 2 later
    otherwise. The shortest mislabelled word therefore has between `2^(p+1) + 1` and `2^(p+2) + 1` symbols. `breaks_at`
    returns the lower end.
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

    def hardest_word(self, length: int) -> str:
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
            query[1:], key[2:] = layout.row(constant=-CLOSED), layout.row(constant=-CLOSED)
            key[0], key[1] = layout.gate(frozenset((own, RESET))), layout.gate(frozenset((other,)))
            value[0] = layout.row({own: 2.0**HALVINGS})
            rate[0] = layout.row({RESET: CLOSED - logit}, constant=logit)
            mixer.out_linear.weight[layout.slot(0), head * d] = 1 if own == OPEN else -1
        model.readout.weight[1, layout.slot(0)] = 1
        model.readout.bias[1] = -0.5
