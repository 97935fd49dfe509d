"""The frame that the paper's fast-weight layers share."""

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
    """What SlowNet makes of the positions: query, key and value `[..., heads, d]`, and the logits of the rule's rates,
    `[..., heads]` each."""

    query: Tensor
    key: Tensor
    value: Tensor
    rates: tuple[Tensor, ...] = ()


class FastWeightMixer(Mixer):
    """`x + OutLinear(rule(SlowNet(LayerNorm(x))))`, both maps without bias.

    SlowNet's output is viewed `[heads, 3 d + extra]` and split `[query | key | value | extra]` a head.
    `erases` says whether the rule takes away what it held under a key before it writes there.
    `rate_bias` `[heads]` is added to the logits of the rates. It is a parameter of its own only where `start` asks for
    a bias: the published layer has none, and its checkpoints and random draws stay what they are. Nothing is gained in
    what the layer can compute: LayerNorm's affine map can make the same constant.
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
        """Multiplies the starting rows of SlowNet that make the values and the rates, and the map behind the rule."""
        rows = self.slow_net.weight.unflatten(0, (self.heads, -1))
        rows[:, 2 * self.head_width : 3 * self.head_width] *= start.value_factors(self.heads)[:, None, None]
        rows[:, 3 * self.head_width :] *= start.rate_scale
        self.out_linear.weight *= start.output_scale

    def forward(self, x: Tensor, state: State | None = None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, State]:
        """`[batch, time, width]` to the same shape, and the fast weights after the last position."""
        scan = self.rule(self.project(self.layer_norm(x)), state, cu_seqlens)
        new_state = scan.state if isinstance(scan.state, tuple) else (scan.state,)
        return x + self.out_linear(scan.output.flatten(-2)), new_state

    @abstractmethod
    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        """Runs the rule on SlowNet's output of `[batch, time]` positions; `cu_seqlens` as `forward` takes it."""

    @abstractmethod
    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query, key, value and rate as the update sees them, from SlowNet's output.

        `last`: the output of the position before, `[batch, heads, d]`, for a rule that has feedback; SlowNet's output
        is then that of one position, `[batch, heads, d]` each, the rates without d.
        """

    def view(self, x: Tensor, before: State) -> Writes:
        """The rank-one updates."""
        last = before[1] if len(before) > 1 else None
        query, key, value, rate = self.features(self.project(self.layer_norm(x)), last)
        return writes(query, key, rate.unsqueeze(-1), value, before[0], erases=self.erases)

    def project(self, x: Tensor) -> Projected:
        """SlowNet, its rows taken apart rather than its output: every part comes out contiguous."""
        weight = self.slow_net.weight.unflatten(0, (self.heads, -1))
        parts = weight.tensor_split([n * self.head_width for n in (1, 2, 3)], dim=1)
        query, key, value = (linear(x, part.flatten(0, 1)).unflatten(-1, (self.heads, -1)) for part in parts[:3])
        rates = tuple(self.biased(linear(x, rows)) for rows in parts[3].unbind(1))
        return Projected(query, key, value, rates)

    def biased(self, logits: Tensor) -> Tensor:
        """The logits of the rates, `[batch, time, heads]`, with their bias."""
        return logits if self.rate_bias is None else logits + self.rate_bias

    def initial_state(self, batch: int) -> State:
        """One zero matrix a head, `[batch, heads, d, d]`."""
        return (self.slow_net.weight.new_zeros(batch, self.heads, self.head_width, self.head_width),)
