"""Two reflections per position compute every permutation of three items."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fwplab.automata import Moore
from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SATURATED, Layout
from fwplab.mixers import MixerSpec
from fwplab.mixers.delta_product import DeltaProduct
from fwplab.model import Model, ModelSpec

SWAP, ROTATE = range(2)
KEYS = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-0.5, 0.5, 0.5, 0.5]])
"""Two unit vectors at an angle of 120 degrees. Their reflections generate the group S3."""
QUERY = KEYS.sum(0)


@dataclass(frozen=True)
class DeltaProductS3(Construction):
    """The word problem of S3, by products of two Householder reflections (arXiv 2502.10297).

    Three items stand in a row, at first abc. The symbol s swaps the first two items, the symbol r moves the first item
    to the end, and the label is the current row. S3 is not commutative. It is the symmetry group of the triangle:
    swapping the first two items is a reflection `H_1 = I - 2 k_1^T k_1`, swapping the last two is a reflection `H_2`,
    and the normals of the two are 120 degrees apart. The rotation r is the product of both. A single step of the delta
    rule cannot be r, because its transition has only one eigenvalue that is not 1.

    At every position the first step has the key k_1 and the rate 2. The second step has the key k_2, and the rate 2 for
    r and 0 for s. The values equal the keys, so that a step is `W <- W - 2 k^T (k W - k)`, that is
    `W - I <- H (W - I)`. From W = 0 it follows that `W = I - G`, with G the product of all reflections so far. The
    query `q = k_1 + k_2` lies on no mirror. Its six images `q G` are therefore different: they are the corners of a
    hexagon. The readout selects the nearest: the logit of an element is `o . x - |x|^2 / 2`, with `x = q - q G` for
    that element.

    With `k_1 = (1, 0, 0, 0)` and `k_2 = (-1, 1, 1, 1) / 2` all keys have length 1 and all numbers are multiples of 1/4.
    The rate is exactly 2, because `2 sigmoid(1000)` rounds to 2. The arithmetic is exact at every length and precision.
    """

    @property
    def task(self) -> Moore:
        rows = list(_elements())
        moves = tuple((rows.index(_swapped(row)), rows.index(_rotated(row))) for row in rows)
        return Moore(("s", "r"), tuple(rows), moves)

    @property
    def mixer(self) -> MixerSpec:
        return DeltaProduct(steps=2)

    @property
    def shape(self) -> ModelSpec:
        return ModelSpec(hidden=12, layers=1, heads=3, feed_forward_factor=1)

    def breaks_at(self, dtype: torch.dtype) -> float:
        return math.inf

    def set_weights(self, model: Model) -> None:
        layout = Layout(len(self.task.symbols), self.shape.hidden)
        layout.embed(model)
        mixer: Any = model.mixers[0]
        d, one = mixer.head_width, layout.row(constant=1)
        query, *steps = mixer.slow_net.weight.unflatten(0, (mixer.heads, -1))[0].split([d] + 2 * [2 * d + 1])
        query.copy_(torch.outer(QUERY, one))
        for step, vector, rate in zip(steps, KEYS, (one, layout.row({SWAP: -2}, constant=1)), strict=True):
            step[:d] = step[d : 2 * d] = torch.outer(vector, one)
            step[2 * d] = SATURATED * rate
        for column in range(d):
            mixer.out_linear.weight[layout.slot(column), column] = 1
        codes = {row: QUERY - QUERY @ element for row, element in _elements().items()}
        for index, row in enumerate(self.task.classes):
            model.readout.weight[index, layout.slot(0) : layout.slot(d)] = codes[row]
            model.readout.bias[index] = -codes[row].square().sum() / 2


def _swapped(row: str) -> str:
    return row[1] + row[0] + row[2]


def _rotated(row: str) -> str:
    return row[1:] + row[0]


def _elements() -> dict[str, Tensor]:
    """The six arrangements of abc, each with the product of reflections that produces it."""
    first, second = (torch.eye(4) - 2 * torch.outer(key, key) for key in KEYS)
    found, waiting = {"abc": torch.eye(4)}, ["abc"]
    while waiting:
        row = waiting.pop(0)
        for after, move in ((_swapped(row), first), (_rotated(row), second @ first)):
            if after not in found:
                found[after] = move @ found[row]
                waiting.append(after)
    return found
