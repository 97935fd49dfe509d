"""Recurrent Delta."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwplab.mixers._fast_weight import FastWeightMixer, Projected
from fwplab.mixers._start import Start
from fwplab.mixers.mixer import State, saturated_share
from fwplab.ops import Scan, recurrent_delta
from fwplab.ops.recurrent_delta import with_feedback


@dataclass(frozen=True)
class RecurrentDelta(Start):
    """The delta rule whose query, key, value and write strength see the last output (arXiv 2310.16076).

    The recurrent weights start as `N(0, 1/d)`, d the width of a head, times `feedback_scale`. The feedback moves the
    logit of a rate by up to the sum of `|r_b|`, so that low rates stay low only where it starts small.
    """

    packs = True
    feedback_scale: float = 1.0

    def build(self, input_width: int, width: int, heads: int) -> FastWeightMixer:
        """The layer `x + OutLinear(recurrent_delta(SlowNet(LayerNorm(x))))`."""
        return _Layer(self, width, heads)


class _Layer(FastWeightMixer):
    state_names = ("W", "fed back")

    def __init__(self, spec: RecurrentDelta, width: int, heads: int) -> None:
        super().__init__(width, heads, extra=1, start=spec)
        d, scale = self.head_width, self.head_width**-0.5 * spec.feedback_scale
        self.recurrent_query = nn.Parameter(torch.randn(heads, d, d) * scale)
        self.recurrent_key = nn.Parameter(torch.randn(heads, d, d) * scale)
        self.recurrent_value = nn.Parameter(torch.randn(heads, d, d) * scale)
        self.recurrent_beta = nn.Parameter(torch.randn(heads, d) * scale)

    def project(self, x: Tensor) -> Projected:
        """SlowNet in one product; nothing comes between it and the rule, which reads the parts where they lie."""
        d = self.head_width
        query, key, value, beta = self.slow_net(x).unflatten(-1, (self.heads, -1)).split([d, d, d, 1], dim=-1)
        return Projected(query, key, value, (self.biased(beta.squeeze(-1)),))

    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        query, key, value, (rate,) = projected
        return recurrent_delta(query, key, value, rate, *self.recurrent, initial_state=state, cu_seqlens=cu_seqlens)

    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, (rate,) = projected
        last = torch.zeros_like(value) if last is None else last
        return with_feedback(last, (query, key, value, rate), self.recurrent)

    @property
    def recurrent(self) -> tuple[Tensor, ...]:
        """The weights of the feedback to query, key, value and write strength."""
        return self.recurrent_query, self.recurrent_key, self.recurrent_value, self.recurrent_beta

    def saturation(self, state: State) -> Tensor:
        return saturated_share(state[-1].tanh())

    def initial_state(self, batch: int) -> State:
        return (*super().initial_state(batch), self.slow_net.weight.new_zeros(batch, self.heads, self.head_width))
