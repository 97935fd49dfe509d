"""DeltaNet with one gate for erasing and one for writing."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwplab.mixers._fast_weight import FastWeightMixer, Projected
from fwplab.mixers._start import check_time_scales, memory_lengths
from fwplab.mixers.delta_net import shares
from fwplab.mixers.mixer import MixerSpec, State
from fwplab.ops import Scan, delta

LEAST_ERASE = -20.0
"""Logits of the erase gate below this one are read as this one. `sigmoid(-20)` is `2.1e-9`: an erasure so small is lost
in the rounding of a float32, while `w / e` stays finite."""


@dataclass(frozen=True)
class SplitDeltaNet(MixerSpec):
    """The delta rule whose rate is split into an erase gate `e` and a write gate `w`.

        W_t = W_{t-1} + k^T (w v - e k W_{t-1});   o = q W_t
        e = sigmoid(erase_slope e_x + erase_bias);   w = sigmoid(w_x + write_bias)

    All else is DeltaNet's. Erase and write gates of the delta rule, there one number a channel and with a decay, are
    those of Gated DeltaNet-2 (arXiv 2605.22791); here each is one number a head, and nothing decays. A counter needs
    writes that erase nothing, and a reset an erasure that writes nothing; one rate for both cannot start near both.

    It runs as `delta(q, k, v w / e, beta=e)`, with `w / e = sigmoid(w_x) (1 + exp(-e_x))`. Logits of `e` below -20 are
    read as -20.

    - `erase_bias`, `write_bias`: where the biases of the gates' logits start; both are trained.
    - `erase_slope`: factor of the erase gate's logit before its bias. Heads start further apart, and a step of training
      moves them by as much more: which symbols erase is found before the values have grown around another answer.
    - `gate_scale`, `value_scale`: factors of the starting rows of SlowNet that make the gates, and the values. A head
      that nothing reads adds up what its first values write, without end: small ones disturb longer strings less.
    - `time_scales`: 0 for none; else the longest memory T, in symbols: head h of H has `h / (H - 1) log T` taken from
      its starting erase bias.
    """

    packs = True
    folds_into = ("delta-net", "recurrent-delta")
    erase_bias: float = -8.0
    write_bias: float = 0.0
    erase_slope: float = 6.0
    gate_scale: float = 1.0
    value_scale: float = 0.1
    time_scales: float = 0.0

    def __post_init__(self) -> None:
        check_time_scales(self.time_scales)

    def build(self, input_width: int, width: int, heads: int) -> FastWeightMixer:
        """The layer `x + OutLinear(rule(SlowNet(LayerNorm(x))))`."""
        return _Layer(self, width, heads)


class _Layer(FastWeightMixer):
    """SlowNet's output is `[query | key | value | erase, write]` a head."""

    def __init__(self, spec: SplitDeltaNet, width: int, heads: int) -> None:
        super().__init__(width, heads, extra=2)
        self.erase_slope = spec.erase_slope
        self.erase_bias = nn.Parameter(spec.erase_bias - memory_lengths(spec.time_scales, heads).log())
        self.write_bias = nn.Parameter(torch.full((heads,), spec.write_bias))
        d = self.head_width
        with torch.no_grad():
            rows = self.slow_net.weight.unflatten(0, (heads, -1))
            rows[:, 2 * d : 3 * d] *= spec.value_scale
            rows[:, 3 * d :] *= spec.gate_scale

    def gates(self, erase: Tensor, write: Tensor) -> tuple[Tensor, Tensor]:
        """The erase gate `e`, and the factor `w / e` of the values, from SlowNet's logits."""
        logits = (self.erase_slope * erase + self.erase_bias).clamp(min=LEAST_ERASE)
        return torch.sigmoid(logits), torch.sigmoid(write + self.write_bias) * (1 + torch.exp(-logits))

    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, (erase, write) = projected
        rate, factor = self.gates(erase, write)
        return shares(query), shares(key), value * factor.unsqueeze(-1), rate

    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        start = state[0] if state else None
        return delta(*self.features(projected), initial_state=start, cu_seqlens=cu_seqlens)
