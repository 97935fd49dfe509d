"""A DeltaNet with negative eigenvalues computes parity."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SATURATED, Layout
from fwplab.languages.parity import Parity
from fwplab.mixers import MixerSpec
from fwplab.mixers.fast_weight_program import FastWeightProgram
from fwplab.model import Model, ModelSpec

ZERO, ONE = range(2)


@dataclass(frozen=True)
class SignedDeltaNetParity(Construction):
    """Parity by the delta rule with keys of length 1 and rates up to 2 (arXiv 2411.12537): each 1 is a reflection.

    The paper's DeltaNet cannot compute parity (`bounds.py`). The rate must reach 2, which `fast-weight-program` allows
    by an option. The key is always the first unit vector e, the value is always 1/2, and the first row of W is a number
    w with `w <- w - beta (w - 1/2)`. When a 0 is read, beta is 0 and w stays. When a 1 is read, beta is 2 and w becomes
    `1 - w`, the reflection about 1/2: 0 becomes 1 and 1 becomes 0. So w is the parity of the ones.

    The numbers are 0, 1/2, 1 and 2, and all their sums are exact, so that no length or precision breaks the
    construction. But beta is 2 only because `2 sigmoid(logit)` is rounded. With the smaller `logit` of a trained model
    the eigenvalue along e is `-r = 1 - 2 sigmoid(logit)`, and after n ones the distance of w from 1/2 is `r^n / 2`. In
    exact arithmetic the sign of w - 1/2 is right for every n. In floating point there are two cases. Floats below 1/2
    are `2^-(p+1)` apart, and those above are twice as far apart. With `r >= 3/4` a distance of `2^-p` does not shrink,
    because it is rounded back at each reflection: the sign is right at every length. With a smaller r the distance
    becomes 0 when `r^n / 2` is below `2^-(p+1)`, after about `p log(2) / log(1/r)` ones.
    """

    logit: float = SATURATED

    @property
    def task(self) -> Parity:
        return Parity()

    @property
    def mixer(self) -> MixerSpec:
        return FastWeightProgram(feedback="none", normalisation="l2", rate="double")

    @property
    def shape(self) -> ModelSpec:
        return ModelSpec(hidden=6, layers=1, heads=1, feed_forward_factor=1)

    def breaks_at(self, dtype: torch.dtype) -> float:
        r = 2 / (1 + math.exp(-self.logit)) - 1
        bits = 1 - math.log2(torch.finfo(dtype).eps)
        return math.inf if r >= 3 / 4 else bits * math.log(2) / math.log(1 / r) + 1

    def hardest_word(self, length: int) -> str:
        return "1" * length

    def set_weights(self, model: Model) -> None:
        layout = Layout(len(self.task.symbols), self.shape.hidden)
        layout.embed(model)
        mixer: Any = model.mixers[0]
        d = mixer.head_width
        query, key, value, rate = mixer.slow_net.weight.split([d, d, d, 1])
        query[0] = key[0] = layout.row(constant=1)
        value[0] = layout.row(constant=0.5)
        rate[0] = layout.row({ZERO: -SATURATED - self.logit}, constant=self.logit)
        mixer.out_linear.weight[layout.slot(0), 0] = 1
        model.readout.weight[0, layout.slot(0)] = 1
        model.readout.bias[0] = -0.5
