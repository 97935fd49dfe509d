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
NOT_ADDRESSED = -10.0
"""The initial logit of the constant input's row in keys and queries, if there is a constant input."""


@dataclass(frozen=True)
class SRWM(Start):
    """A weight matrix that modifies itself, with a trained initial value (arXiv 2310.16076, 2202.05780).

    Initial values: `W_y ~ N(0, value_scale^2 / d)`, `W_k ~ N(0, 1/d)`, `W_q ~ N(0, query_scale^2 / d)`,
    `w_b ~ N(rate_bias, rate_scale^2 / d)`. `rate_bias` is the mean of weights. The logits of the rates therefore start
    near `rate_bias` times the sum of the input, which can have either sign. With `input_softmax` the input of a head is
    its softmax (arXiv 2202.05780, equation 5). Its sum is 1, so that `rate_bias` is then a bias. `time_scales` lowers
    this bias head by head and needs `input_softmax` or `constant_input`.

    Two peculiarities of the published layer are switches:

    - `normalised_input`: false if the rule reads the raw `x` without a LayerNorm, as published.
    - `normalised_residual`: true if the layer returns `LayerNorm(x) + OutLinear(y)`, as published, not `x + ...`.

    More switches change only the initial weights, so that the layer can count. If keys are uniform, a step adds
    the same row, `b/d (q - k) W`, to all rows of a block. This changes neither `(q - k) W` nor, because
    `(q - k) k^T = 0`, what was added before. The sum of such steps is exact at any rate (docs/counting.md).

    - `key_scale`: a factor of the initial W_k. With 0 all keys are uniform at first.
    - `self_rate_bias`: added to the bias of the rates at which W_q, W_k and w_b modify themselves. With the rate of
      W_y, queries and rates would depend on the count.
    - `constant_input`: 0 for no effect; else the initial value of the last input of every head, for every symbol. The
      row of w_b that belongs to this input is then the bias of the rates. Its row of W_y is 0 at first. Keys and
      queries are nearly 0 in it, so that no step changes these rows.
    - `input_scale`: a factor of the initial embedding; all blocks are divided by it, so that all products are
      unchanged. A step of Adam changes every number by a similar amount. A scale below 1 therefore makes embeddings
      learn faster and keys more slowly. Slow keys stay uniform for longer, and a count leaks only if they are not.
    - `copy_row`: whether every head has a second constant input, the negative of the first. The output then reads the
      difference of two rows of W_y. Keys are uniform over all rows but the second of these two, so that only the first
      holds the count. If the key of a symbol addresses the second row, the step copies the count to it. This resets
      the difference to 0. `input_scale` does not multiply the two inputs, so that training hardly changes what is read.
    - `copy_bias`: the initial logit of the second row in the keys; those of the other rows are 0. Queries have almost
      no weight there.
    - `copy_slope`: the standard deviation of this logit over the symbols.
    - `copy_noise`: the two inputs of a symbol are `constant_input` and its negative, times `1 + copy_noise n` with a
      normal number n for each symbol and head. If it is not 0, a third constant input gives the rates their bias.
      SRWM reads before it writes. So the symbol that resets still reads the count, and its output can be independent
      of the count only if symbols read it differently.
    """

    packs = True
    normalised_input: bool = False
    normalised_residual: bool = True
    rate_bias: float = -1.0
    query_scale: float = 0.01
    input_softmax: bool = False
    key_scale: float = 1.0
    self_rate_bias: float = 0.0
    constant_input: float = 0.0
    input_scale: float = 1.0
    copy_row: bool = False
    copy_bias: float = -2.0
    copy_slope: float = 1.0
    copy_noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_scales and not (self.input_softmax or self.constant_input):
            raise UserError(
                "time_scales needs rates with a bias: choose input_softmax=true or constant_input=1 with it"
            )
        if self.starts_embedding and (self.input_softmax or self.normalised_input):
            raise UserError(
                "constant_input and input_scale change the raw input: choose input_softmax=false and "
                "normalised_input=false with them"
            )
        if not self.input_scale > 0:
            raise UserError(f"input_scale must be above 0, not {self.input_scale}")
        if self.copy_row and not self.constant_input:
            raise UserError("copy_row adds a second constant input: choose constant_input=1 with it")

    @property
    def starts_embedding(self) -> bool:
        """Whether the switches change the initial embedding."""
        return self.constant_input != 0 or self.input_scale != 1

    @property
    def constants(self) -> int:
        """The number of constant inputs of a head with a copy row; the first of them reads the copy."""
        return 3 if self.copy_noise else 2

    def depth(self, layers: int) -> int:
        """The requested number. Switches that change the embedding need one layer, which reads it directly."""
        if self.starts_embedding and layers > 1:
            raise UserError(f"constant_input and input_scale start a model of one layer: choose 1 layer, not {layers}")
        return layers

    def start_embedding(self, weight: Tensor, heads: int) -> None:
        """Sets the constant inputs of every head, and scales the inputs."""
        inputs = weight.unflatten(-1, (heads, -1))
        if self.constant_input:
            inputs[..., -1] = self.constant_input
        weight *= self.input_scale
        if self.copy_row:
            symbols = inputs[..., : -self.constants]
            symbols -= symbols.mean(-1, keepdim=True)  # their sum would read the count
            inputs[..., -1] = self.constant_input
            if self.copy_noise:
                inputs[..., -2] = self.constant_input * (1 + self.copy_noise * torch.randn(inputs.shape[:-1]))
            inputs[..., -self.constants] = -inputs[..., 1 - self.constants]

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """Builds the layer. Its state is the four blocks of every head."""
        if self.copy_row and head_width(width, heads) < self.constants + 2:
            least, given = self.constants + 2, head_width(width, heads)
            raise UserError(f"copy_row needs heads with {least} inputs or more, not {given}")
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
        self.w_k = nn.Parameter(torch.randn(heads, d, d) * scale * spec.key_scale)
        self.w_b = nn.Parameter(torch.randn(heads, d, 4) * scale * spec.rate_scale)
        self.layer_norm = nn.LayerNorm(width)
        self.out_linear = nn.Linear(width, width, bias=False)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Adds the biases of the rates (to the row of the constant input if there is one) and scales the weights."""
        spec, constant = self.spec, self.spec.constant_input
        bias = spec.biases(self.heads)[:, None] + torch.tensor([0.0, 1.0, 1.0, 1.0]) * spec.self_rate_bias
        if constant:
            self.w_b[:, -1] = bias / constant
            self.w_y[:, -1] = 0
            self.w_q[:, -1, -1] += NOT_ADDRESSED / constant
            self.w_k[:, -1, -1] += NOT_ADDRESSED / constant
        else:
            self.w_b.add_(bias[:, None])
        for block in self.blocks:
            block.div_(spec.input_scale)
        if spec.copy_row:
            self._start_copy_row(bias)
        self.out_linear.weight *= spec.output_scale

    def _start_copy_row(self, bias: Tensor) -> None:
        """Sets the rows that the constant inputs read, and the column that addresses the copy row.

        bias: the bias of the four rates, `[heads, 4]`.
        """
        spec, constant, copy = self.spec, self.spec.constant_input, -self.spec.constants
        for block in self.blocks:
            block[:, copy:] = 0
        self.w_b[:, -1] = bias / constant
        for block, logit in ((self.w_q, NOT_ADDRESSED), (self.w_k, spec.copy_bias)):
            block[:, :, copy:] = 0
            block[:, -1, copy] = logit / constant
            if spec.copy_noise:  # the last input then has no part in the count
                block[:, -1, -1] = NOT_ADDRESSED / constant
        symbols = self.w_k[:, :copy, copy]
        symbols.normal_().mul_(spec.copy_slope * self.w_k.shape[1] ** -0.5 / spec.input_scale)

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
