"""DeltaProduct."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fwplab.errors import UserError, shown
from fwplab.mixers._view import Writes, products
from fwplab.mixers.mixer import Mixer, MixerSpec, State, head_width
from fwplab.ops import delta_product

MOST_STEPS = 100


@dataclass(frozen=True)
class DeltaProduct(MixerSpec):
    """Several delta updates per position, with unit keys and queries and rates up to 2 (arXiv 2502.10297).

    `steps`: the number of updates. Each has its own key, value and rate. With one step this is the signed DeltaNet.
    """

    packs = True
    steps: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise UserError(f"steps must be a whole number from 1 to {MOST_STEPS}, not {shown(self.steps)}")

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """Builds `x + OutLinear(delta_product(SlowNet(LayerNorm(x))))`. Both linear maps have no bias."""
        return _Layer(self.steps, width, heads)


class _Layer(Mixer):
    """SlowNet's output for each head is `[query | key, value and rate of each step]`."""

    state_names = ("W",)

    def __init__(self, steps: int, width: int, heads: int) -> None:
        super().__init__()
        self.steps, self.heads, self.head_width = steps, heads, head_width(width, heads)
        d = self.head_width
        self.layer_norm = nn.LayerNorm(width)
        self.slow_net = nn.Linear(width, heads * (d + steps * (2 * d + 1)), bias=False)
        self.out_linear = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, state: State | None = None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, State]:
        scan = delta_product(*self._project(x), initial_state=state[0] if state else None, cu_seqlens=cu_seqlens)
        return x + self.out_linear(scan.output.flatten(-2)), (scan.state,)

    def view(self, x: Tensor, before: State) -> Writes:
        query, key, value, rate = (part.squeeze(0) for part in self._project(x.unsqueeze(0)))
        return products(query, key.transpose(1, 2), rate.transpose(1, 2), value.transpose(1, 2), before[0], erases=True)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query `[batch, time, heads, d]`, key and value `[batch, time, steps, heads, d]`, and the rates."""
        d = self.head_width
        query, steps = self.slow_net(self.layer_norm(x)).unflatten(-1, (self.heads, -1)).tensor_split([d], dim=-1)
        key, value, rate = steps.unflatten(-1, (self.steps, -1)).transpose(2, 3).split([d, d, 1], dim=-1)
        return normalize(query, dim=-1), normalize(key, dim=-1), value, 2 * torch.sigmoid(rate.squeeze(-1))

    def initial_state(self, batch: int) -> State:
        return (self.slow_net.weight.new_zeros(batch, self.heads, self.head_width, self.head_width),)
