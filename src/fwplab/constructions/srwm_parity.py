"""A self-referential weight matrix tells even from odd."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SURE
from fwplab.languages.parity import Parity
from fwplab.mixers import MixerSpec
from fwplab.mixers.srwm import SRWM
from fwplab.model import Model, ModelSpec

ZERO, ONE, TO_ODD, TO_EVEN = range(4)


@dataclass(frozen=True)
class SRWMParity(Construction):
    """Parity by a matrix that rewrites where it will copy from next.

    One head of width 4, whose rows have names: ZERO, ONE, TO_ODD, TO_EVEN. The symbol 1 is embedded as the unit vector
    of ONE, so that it reads the row ONE of every block. Its key is always ONE, and the rates of W_y and W_q are 1:
    the row ONE of these two becomes a copy of the row that the query names (`W += k^T (q W - k W)`). The query is
    the row ONE of W_q, and here the matrix refers to itself: the two rows that it can be a copy of name each other.

        row       W_q names   W_y says of a 1
        ONE       TO_ODD      the prefix is now odd, -1   (at the start; then a copy of one of these two)
        TO_ODD    TO_EVEN     the prefix is now even, +1
        TO_EVEN   TO_ODD      the prefix is now odd, -1

    A single block cannot do this: its transition `I + b k^T (q - k)` has the eigenvalue `1 + b (q - k) k^T > 0`, as
    DeltaNet's has. The output is read before the update, so a 1 says what W_y holds in ONE: the parity with itself. A
    0 is embedded as the unit vector of ZERO less that of ONE: it reads the opposite, which is the parity without a 1,
    and its rates, the row ZERO of w_b, are 0: nothing changes. The layer's own LayerNorm is switched to zero.

    Softmax and sigmoid of logits 1000 apart are exactly 0 and 1, and copies of whole numbers are exact: precision
    never breaks it.
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
        w_k[ONE, ONE] = SURE
        w_q[ONE, TO_ODD] = w_q[TO_ODD, TO_EVEN] = w_q[TO_EVEN, TO_ODD] = SURE
        w_y[TO_ODD, 0], w_y[ONE, 0], w_y[TO_EVEN, 0] = 1, -1, -1
        w_b[ONE] = torch.tensor([SURE, SURE, -SURE, -SURE])
        w_b[ZERO] = torch.tensor([0, 0, -2 * SURE, -2 * SURE])
        mixer.out_linear.weight[0, 0] = 1
        model.readout.weight[1, 0] = 1
