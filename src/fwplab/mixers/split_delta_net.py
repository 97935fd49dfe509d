"""DeltaNet with separate gates for erasing and for writing."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwplab.mixers._fast_weight import FastWeightMixer, Projected
from fwplab.mixers._start import check_time_scales, memory_lengths
from fwplab.mixers.delta_net import shares
from fwplab.mixers.mixer import MixerSpec, State
from fwplab.ops import Scan, delta

LEAST_ERASE = -20.0
"""The lowest logit of the erase gate; lower logits are clamped to it. It keeps `w / e` finite. An erase gate of
`sigmoid(-20)`, which is 2.1e-9, has no effect in float32."""


@dataclass(frozen=True)
class SplitDeltaNet(MixerSpec):
    """The delta rule with an erase gate `e` and a write gate `w` instead of one rate.

        W_t = W_{t-1} + k^T (w v - e k W_{t-1});   o = q W_t
        e = sigmoid(erase_slope e_x + erase_bias);   w = sigmoid(w_x + write_bias)

    `e_x` and `w_x` are linear functions of the input, one number for each head. Everything else is as in DeltaNet.

    A counter must write without erasing, and a reset must erase without writing. With one rate for both, no
    initialisation is close to both.

    The layer calls `delta(q, k, v w / e, beta=e)`. It computes `w / e` as `sigmoid(w_x + write_bias) (1 + exp(-l))`,
    where l is the logit of e, and clamps l to at least -20.

    Gated DeltaNet-2 (arXiv 2605.22791) has erase and write gates, too. It has one gate for each channel and a decay;
    this layer has one for each head and no decay.

    - `erase_bias`, `write_bias`: the initial biases of the logits. Both are trained.
    - `erase_slope`: a factor of the erase gate's logit before its bias is added. A large factor makes the gates of
      different heads and symbols differ more at the start, and each training step changes them more. The model then
      learns which symbols erase before its values grow.
    - `gate_scale`: a factor of the initial weights of the two gates.
    - `value_scale`: a factor of the initial weights of the values. A head that the output does not use accumulates
      its values over the whole string; small values disturb long strings less.
    - `time_scales`: 0 for no effect; else the longest memory length T, in symbols. `h / (H - 1) log T` is subtracted
      from the initial erase bias of head h of H.
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
    """The layer. SlowNet's output for each head is `[query | key | value | erase, write]`."""

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
        """The erase gate `e` and the factor `w / e` of the values, from the outputs of SlowNet."""
        logits = (self.erase_slope * erase + self.erase_bias).clamp(min=LEAST_ERASE)
        return torch.sigmoid(logits), torch.sigmoid(write + self.write_bias) * (1 + torch.exp(-logits))

    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, (erase, write) = projected
        rate, factor = self.gates(erase, write)
        return shares(query), shares(key), value * factor.unsqueeze(-1), rate

    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        start = state[0] if state else None
        return delta(*self.features(projected), initial_state=start, cu_seqlens=cu_seqlens)
