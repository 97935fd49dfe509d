"""A self-referential weight matrix computes parity."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SATURATED
from fwplab.languages.parity import Parity
from fwplab.mixers import MixerSpec
from fwplab.mixers.srwm import SRWM
from fwplab.model import Model, ModelSpec

ZERO, ONE, TO_ODD, TO_EVEN = range(4)


@dataclass(frozen=True)
class SRWMParity(Construction):
    """Parity by a matrix that rewrites the address of its own next copy.

    There is one head of width 4. Its rows are named ZERO, ONE, TO_ODD and TO_EVEN. The symbol 1 is embedded as the unit
    vector of ONE, so that it reads the row ONE of every block. Its key is always ONE, and the rates of W_y and W_q are
    1. The update `W += k^T (q W - k W)` therefore copies the row that the query selects into the row ONE of these two
    blocks. The query is the row ONE of W_q itself. This is where the matrix refers to itself: each of the two rows that
    are copied to it selects the other.

        row       W_q selects   output of W_y for a 1
        ONE       TO_ODD        the prefix is now odd, -1   (at the start; then a copy of one of these two)
        TO_ODD    TO_EVEN       the prefix is now even, +1
        TO_EVEN   TO_ODD        the prefix is now odd, -1

    A single block cannot do this: its transition `I + b k^T (q - k)` has the eigenvalue `1 + b (q - k) k^T > 0`, as in
    DeltaNet. The output is read before the update, so that the row ONE of W_y gives the parity with the current 1
    included. A 0 is embedded as the unit vector of ZERO minus that of ONE. It therefore reads the opposite output,
    which is the parity without a 1. Its rates, the row ZERO of w_b, are 0, so that nothing changes. The weights of the
    layer's own LayerNorm are zero.

    Softmax and sigmoid of logits 1000 apart are exactly 0 and 1, and copies of whole numbers are exact. The weights are
    right at every length and precision.
    """

    @property
    def task(self) -> Parity:
        return Parity()

    @property
    def mixer(self) -> MixerSpec:
        return SRWM()

    @property
    def shape(self) -> ModelSpec:
        return ModelSpec(hidden=4, layers=1, heads=1, feed_forward_factor=1)

    def breaks_at(self, dtype: torch.dtype) -> float:
        return math.inf

    def set_weights(self, model: Model) -> None:
        mixer: Any = model.mixers[0]
        w_y, w_q, w_k, w_b = (block[0] for block in mixer.blocks)
        model.embedding.weight[0, ZERO] = model.embedding.weight[1, ONE] = 1
        model.embedding.weight[0, ONE] = -1
        w_k[ONE, ONE] = SATURATED
        w_q[ONE, TO_ODD] = w_q[TO_ODD, TO_EVEN] = w_q[TO_EVEN, TO_ODD] = SATURATED
        w_y[TO_ODD, 0], w_y[ONE, 0], w_y[TO_EVEN, 0] = 1, -1, -1
        w_b[ONE] = torch.tensor([SATURATED, SATURATED, -SATURATED, -SATURATED])
        w_b[ZERO] = torch.tensor([0, 0, -2 * SATURATED, -2 * SATURATED])
        mixer.out_linear.weight[0, 0] = 1
        model.readout.weight[1, 0] = 1
