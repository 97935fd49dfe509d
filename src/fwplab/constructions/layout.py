"""How the constructions lay out the width of a model, and how they read the current symbol exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fwplab.model import Model

SHUT = 128.0
"""A pre-activation of -128 is as good as minus infinity: `elu(-128) + 1` is 0 in every precision."""
SURE = 1000.0
"""A logit so far from the others that softmax and sigmoid are exactly 0 or 1, in float64 too: `exp(-1000)` is 0."""


@dataclass(frozen=True)
class Layout:
    """Columns of the residual stream: `n` of the symbols, their `n` opposites, a constant one, then free slots.

    The embedding of symbol s is +1 in column s and -1 in column n + s. Its mean is 0 and its variance 2 / width, so a
    LayerNorm with weight `sqrt(2 / width + epsilon)` gives it back, up to rounding: +-1 with a relative error of a few
    units, and the same tiny b, from the rounding of the mean, in all other columns. Hence

        p_s(x) = (x_s - x_{n+s}) / 2 = 1 + O(u) when s is read, and exactly 0 when it is not,

    u the unit of rounding, for b - b = 0 (a sum of several such differences is O(u b), which nothing that is added to
    1 notices). The constant column has LayerNorm weight 0 and bias 1, and is exactly 1. Whatever a construction needs
    to be exact is made of ones and of gates that such zeros leave open.
    """

    symbols: int
    width: int

    @property
    def one(self) -> int:
        """The column of the constant."""
        return 2 * self.symbols

    def slot(self, index: int) -> int:
        """A free column: its embedding is 0, so that what a layer adds there is alone."""
        return 2 * self.symbols + 1 + index

    def embed(self, model: Model) -> None:
        """Sets the embedding, and the LayerNorm in front of the first mixer."""
        n = self.symbols
        norm: Any = model.mixers[0].layer_norm
        for symbol in range(n):
            model.embedding.weight[symbol, symbol] = 1
            model.embedding.weight[symbol, n + symbol] = -1
        norm.weight[: 2 * n] = (2 / self.width + norm.eps) ** 0.5
        norm.bias[self.one] = 1

    def row(self, symbols: Mapping[int, float] | None = None, constant: float = 0.0) -> Tensor:
        """The weights of the linear map `constant + sum over s of symbols[s] p_s`."""
        row = torch.zeros(self.width, dtype=torch.float64)
        row[self.one] = constant
        for symbol, factor in (symbols or {}).items():
            row[symbol] += factor / 2
            row[self.symbols + symbol] -= factor / 2
        return row

    def gate(self, open_for: frozenset[int]) -> Tensor:
        """A row that is 0 for these symbols and -SHUT for the others: through `elu + 1` exactly 1 or 0."""
        return self.row({symbol: -SHUT for symbol in range(self.symbols) if symbol not in open_for})
