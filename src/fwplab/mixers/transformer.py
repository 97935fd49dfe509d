"""The standard Transformer, post-LayerNorm."""

from dataclasses import dataclass

from torch import Tensor, nn

from fwplab.mixers.mixer import MixerSpec, State
from fwplab.mixers.softmax_attention import CausalAttention


@dataclass(frozen=True)
class Transformer(MixerSpec):
    """`LayerNorm(x + attention(x))`, as in `nn.TransformerEncoderLayer`; no position encoding (arXiv 2310.16076).

    The model ends with another LayerNorm. The state consists of all keys and values so far and grows with the sequence.
    `same_start`: whether all layers start with equal weights, as in `nn.TransformerEncoder`, which copies one layer.
    """

    feed_forward = "post"
    final_norm = True
    constant_memory = False
    same_start: bool = True

    def build(self, input_width: int, width: int, heads: int) -> CausalAttention:
        """Builds multi-head attention with biases, initialised like `nn.MultiheadAttention`."""
        return _Layer(width, heads)


class _Layer(CausalAttention):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, biased=True)
        self.in_linear = nn.Linear(width, 3 * width)
        self.layer_norm = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.in_linear.weight)
        nn.init.zeros_(self.in_linear.bias)
        nn.init.zeros_(self.out_linear.bias)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        query, key, value = self.project(x)
        output, state = self.attend(query, key, value, state)
        return self.layer_norm(x + self.out_linear(output)), state

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in self.in_linear(x).chunk(3, dim=-1))
        return query, key, value
