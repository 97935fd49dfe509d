"""The linear Transformer (LT)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import elu

from fwplab.mixers._fast_weight import FastWeightMixer, Projected
from fwplab.mixers.mixer import MixerSpec, State
from fwplab.ops import Scan, linear


@dataclass(frozen=True)
class LinearTransformer(MixerSpec):
    """Additive fast weights, with the feature map `elu + 1` on query and key and no normaliser (arXiv 2310.16076)."""

    packs = True

    def build(self, input_width: int, width: int, heads: int) -> FastWeightMixer:
        """Builds `x + OutLinear(linear(SlowNet(LayerNorm(x))))`."""
        return _Layer(width, heads)


class _Layer(FastWeightMixer):
    erases = False

    def features(self, projected: Projected, last: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query, key, value, _ = projected
        return elu(query) + 1, elu(key) + 1, value, value.new_ones(value.shape[:-1])

    def rule(self, projected: Projected, state: State | None, cu_seqlens: Tensor | None) -> Scan:
        start = state[0] if state else None
        query, key, value, _ = self.features(projected)
        return linear(query, key, value, initial_state=start, cu_seqlens=cu_seqlens)
