"""The self-referential weight matrix (SRWM)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwplab.errors import UserError
from fwplab.mixers._start import Start
from fwplab.mixers._view import Writes, rewrites
from fwplab.mixers.mixer import Mixer, State, head_width
from fwplab.ops import srwm
from fwplab.ops.srwm import read

BLOCKS = ("W_y", "W_q", "W_k", "w_b")


@dataclass(frozen=True)
class SRWM(Start):
    """A weight matrix that modifies itself, with a trained initial value (arXiv 2310.16076, 2202.05780).

    Initial values: `W_y ~ N(0, value_scale^2 / d)`, `W_k ~ N(0, 1/d)`, `W_q ~ N(0, query_scale^2 / d)`,
    `w_b ~ N(rate_bias, rate_scale^2 / d)`. `rate_bias` is the mean of weights. The logits of the rates therefore start
    near `rate_bias` times the sum of the input, which can have either sign. With `input_softmax` the input of a head is
    its softmax (arXiv 2202.05780, equation 5). Its sum is 1, so that `rate_bias` is then a bias. `time_scales` lowers
    this bias head by head and needs `input_softmax`.

    Two peculiarities of the published layer are switches:

    - `normalised_input`: false if the rule reads the raw `x` without a LayerNorm, as published.
    - `normalised_residual`: true if the layer returns `LayerNorm(x) + OutLinear(y)`, as published, not `x + ...`.
    """

    packs = True
    normalised_input: bool = False
    normalised_residual: bool = True
    rate_bias: float = -1.0
    query_scale: float = 0.01
    input_softmax: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_scales and not self.input_softmax:
            raise UserError("time_scales needs rates with a bias: choose input_softmax=true with it")

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """Builds the layer. Its state is the four blocks of every head."""
        return _Layer(self, width, heads)


class _Layer(Mixer):
    state_names = BLOCKS

    def __init__(self, spec: SRWM, width: int, heads: int) -> None:
        super().__init__()
        self.spec, self.heads = spec, heads
        d = head_width(width, heads)
        scale = d**-0.5
        self.w_y = nn.Parameter(torch.randn(heads, d, d) * scale * spec.value_factors(heads)[:, None, None])
        self.w_q = nn.Parameter(torch.randn(heads, d, d) * scale * spec.query_scale)
        self.w_k = nn.Parameter(torch.randn(heads, d, d) * scale)
        self.w_b = nn.Parameter(torch.randn(heads, d, 4) * scale * spec.rate_scale + spec.biases(heads)[:, None, None])
        self.layer_norm = nn.LayerNorm(width)
        self.out_linear = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            self.out_linear.weight *= spec.output_scale

    def forward(self, x: Tensor, state: State | None = None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, State]:
        normal = self.layer_norm(x)
        heads = self._heads(normal if self.spec.normalised_input else x)
        scan = srwm(heads, *self.blocks, initial_state=state, cu_seqlens=cu_seqlens)
        residual = normal if self.spec.normalised_residual else x
        return residual + self.out_linear(scan.output.flatten(-2)), scan.state

    def view(self, x: Tensor, before: State) -> Writes:
        """The updates of the four blocks."""
        heads = self._heads(self.layer_norm(x) if self.spec.normalised_input else x)
        _, query, key, rates = (part.squeeze(-2) for part in read(before, heads))
        blocks = dict(zip(BLOCKS, before, strict=True))
        return rewrites(blocks, query, key, rates, rewritten=BLOCKS, erases=True, fed={})

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads.softmax(-1) if self.spec.input_softmax else heads

    def initial_state(self, batch: int) -> State:
        return tuple(block.expand(batch, *block.shape) for block in self.blocks)

    @property
    def blocks(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.w_y, self.w_q, self.w_k, self.w_b
