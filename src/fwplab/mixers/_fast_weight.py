"""The base class of the fast-weight layers: projections, a sequence rule and a residual connection."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fwplab.mixers._start import Start
from fwplab.mixers._view import Writes, writes
from fwplab.mixers.mixer import Mixer, State, head_width
from fwplab.ops import Scan


class Projected(NamedTuple):
    """SlowNet's output: query, key and value `[..., heads, d]`, and the logits of the rates, each `[..., heads]`."""

    query: Tensor
    key: Tensor
    value: Tensor
    rates: tuple[Tensor, ...] = ()


class FastWeightMixer(Mixer):
    """`x + OutLinear(rule(SlowNet(LayerNorm(x))))`. SlowNet and OutLinear are linear maps without bias.

    SlowNet's output has the shape `[..., heads, 3 d + extra]`. The last axis is `[query | key | value | extra]`.

    - `erases`: whether the rule subtracts the old value of a key before it writes a new one (a delta rule).
    - `rate_bias`: added to the logits of the rates, `[heads]`. It exists only if `start` requests a bias. The published
      layer has none, so that its checkpoints and random draws do not change. The bias does not change what the layer
      can compute: the affine map of LayerNorm can produce the same constant.
    """

    state_names: tuple[str, ...] = ("W",)
    erases: bool = True

    def __init__(self, width: int, heads: int, extra: int = 0, start: Start | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = head_width(width, heads)
        self.layer_norm = nn.LayerNorm(width)
        self.slow_net = nn.Linear(width, heads * (3 * self.head_width + extra), bias=False)
        self.out_linear = nn.Linear(width, width, bias=False)
        self.rate_bias = nn.Parameter(start.biases(heads)) if start and start.has_bias else None
        if start:
            self._scale(start)

    @torch.no_grad()
    def _scale(self, start: Start) -> None:
        """Scales the initial rows of SlowNet that produce the values and the rates, and the output map."""
        rows = self.slow_net.weight.unflatten(0, (self.heads, -1))
        rows[:, 2 * self.head_width : 3 * self.head_width] *= start.value_factors(self.heads)[:, None, None]
        rows[:, 3 * self.head_width :] *= start.rate_scale
        self.out_linear.weight *= start.output_scale

    def forward(self, x: Tensor, state: State | None = None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, State]:
        """Maps `[batch, time, width]` to the same shape, and returns the fast weights after the last position."""
        scan = self.rule(self.project(self.layer_norm(x)), state, cu_seqlens)
        new_state = scan.state if isinstance(scan.state, tuple) else (scan.state,)
        return x + self.out_linear(scan.output.flatten(-2)), new_state

    @abstractmethod
    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        """Runs the rule on SlowNet's output at positions `[batch, time]`. `cu_seqlens` is that of `forward`."""

    @abstractmethod
    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query, key, value and rate of the update, computed from SlowNet's output.

        `last`: for a rule with feedback, the output at the previous position, `[batch, heads, d]`. `projected` is then
        SlowNet's output at one position, with query, key and value `[batch, heads, d]` and rates `[batch, heads]`.
        """

    def view(self, x: Tensor, before: State) -> Writes:
        """The rank-one updates."""
        last = before[1] if len(before) > 1 else None
        query, key, value, rate = self.features(self.project(self.layer_norm(x)), last)
        return writes(query, key, rate.unsqueeze(-1), value, before[0], erases=self.erases)

    def project(self, x: Tensor) -> Projected:
        """Applies SlowNet. It splits the rows of the weight, not the output, so that every part is contiguous."""
        weight = self.slow_net.weight.unflatten(0, (self.heads, -1))
        parts = weight.tensor_split([n * self.head_width for n in (1, 2, 3)], dim=1)
        query, key, value = (linear(x, part.flatten(0, 1)).unflatten(-1, (self.heads, -1)) for part in parts[:3])
        rates = tuple(self.biased(linear(x, rows)) for rows in parts[3].unbind(1))
        return Projected(query, key, value, rates)

    def biased(self, logits: Tensor) -> Tensor:
        """Adds the bias to the logits of the rates, `[batch, time, heads]`."""
        return logits if self.rate_bias is None else logits + self.rate_bias

    def initial_state(self, batch: int) -> State:
        """One zero matrix per head, `[batch, heads, d, d]`."""
        return (self.slow_net.weight.new_zeros(batch, self.heads, self.head_width, self.head_width),)
