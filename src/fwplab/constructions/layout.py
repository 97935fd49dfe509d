"""The columns of the residual stream that constructions use, and how they read the current symbol exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fwplab.model import Model

CLOSED = 128.0
"""A gate is closed by a pre-activation of -128: `elu(-128) + 1` is 0 in every precision."""
SATURATED = 1000.0
"""A logit at which softmax and sigmoid are exactly 0 or 1, in float64 too: `exp(-1000)` is 0."""


@dataclass(frozen=True)
class Layout:
    """Columns of the residual stream: one per symbol, its negative per symbol, a constant, then free slots.

    With n symbols, the embedding of symbol s is +1 in column s and -1 in column n + s. It has mean 0 and variance 2 /
    width. A LayerNorm with the weight `sqrt(2 / width + epsilon)` therefore returns it up to rounding: the entries are
    +-1 with a relative error of a few rounding units u, and all other columns hold the same tiny number b, from the
    rounding of the mean. It follows that

        p_s(x) = (x_s - x_{n+s}) / 2 = 1 + O(u) when s is read, and exactly 0 when another symbol is read,

    because b - b = 0. (A sum of several such differences is O(u b), which is lost when it is added to 1.) The constant
    column has LayerNorm weight 0 and bias 1, and is exactly 1. Constructions build every quantity that must be exact
    from the constant and from gates that these zeros leave open.

    - `symbols`: the number n of symbols.
    - `width`: the width of the residual stream.
    """

    symbols: int
    width: int

    @property
    def one(self) -> int:
        """The index of the constant column."""
        return 2 * self.symbols

    def slot(self, index: int) -> int:
        """The index of a free column: its embedding is 0, so that it holds only what a layer writes there."""
        return 2 * self.symbols + 1 + index

    def embed(self, model: Model) -> None:
        """Sets the embedding and the LayerNorm of the first mixer."""
        n = self.symbols
        norm: Any = model.mixers[0].layer_norm
        for symbol in range(n):
            model.embedding.weight[symbol, symbol] = 1
            model.embedding.weight[symbol, n + symbol] = -1
        norm.weight[: 2 * n] = (2 / self.width + norm.eps) ** 0.5
        norm.bias[self.one] = 1

    def row(self, symbols: Mapping[int, float] | None = None, constant: float = 0.0) -> Tensor:
        """The weights `[width]` of the linear map `constant + sum over s of symbols[s] p_s`."""
        row = torch.zeros(self.width, dtype=torch.float64)
        row[self.one] = constant
        for symbol, factor in (symbols or {}).items():
            row[symbol] += factor / 2
            row[self.symbols + symbol] -= factor / 2
        return row

    def gate(self, open_for: frozenset[int]) -> Tensor:
        """Weights of a gate: 0 for the symbols in `open_for`, -CLOSED for others; `elu + 1` of it is exactly 1 or 0."""
        return self.row({symbol: -CLOSED for symbol in range(self.symbols) if symbol not in open_for})
