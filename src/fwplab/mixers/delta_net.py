"""DeltaNet."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import elu

from fwplab.mixers._fast_weight import FastWeightMixer, Projected
from fwplab.mixers._start import Start
from fwplab.mixers.mixer import State
from fwplab.ops import Scan, delta


@dataclass(frozen=True)
class DeltaNet(Start):
    """The delta rule. Query and key are `elu + 1`, divided by their sum, and the rate is `beta = sigmoid(.)`.

    Because `0 < 1 - beta |k|^2 < 1`, no transition has a negative eigenvalue, and the layer cannot compute parity
    (arXiv 2310.16076). A write also erases: the part of W along its key is multiplied by `1 - beta |k|^2`. A layer that
    counts needs rates near 0. With `rate_bias` and `value_scale` it can start there.
    """

    packs = True

    def build(self, input_width: int, width: int, heads: int) -> FastWeightMixer:
        """Builds `x + OutLinear(delta(SlowNet(LayerNorm(x))))`."""
        return _Layer(width, heads, extra=1, start=self)


class _Layer(FastWeightMixer):
    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, (rate,) = projected
        return shares(query), shares(key), value, torch.sigmoid(rate)

    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        start = state[0] if state else None
        return delta(*self.features(projected), initial_state=start, cu_seqlens=cu_seqlens)


def shares(features: Tensor) -> Tensor:
    """`elu + 1`, divided by its sum over the last axis."""
    positive = elu(features) + 1
    return positive / positive.sum(-1, keepdim=True)
