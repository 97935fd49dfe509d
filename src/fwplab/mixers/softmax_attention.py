"""Softmax attention with the projections of the fast-weight layers (pre-LayerNorm)."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from fwplab.mixers._view import Attention
from fwplab.mixers.mixer import Mixer, MixerSpec, State, head_width


@dataclass(frozen=True)
class SoftmaxAttention(MixerSpec):
    """`x + OutLinear(attention(SlowNet(LayerNorm(x))))`, scale `1/sqrt(d)`, no biases, no position encoding.

    This is the second softmax baseline of the code published with arXiv 2310.16076. The state consists of all keys and
    values so far and grows with the sequence.
    """

    constant_memory = False

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """Builds the layer. SlowNet's output for each head is `[query | key | value]`."""
        return _Layer(width, heads)


class CausalAttention(Mixer):
    """Causal softmax attention with a cache of keys and values, `[batch, time, heads, d]` both."""

    state_names = ("keys", "values")

    def __init__(self, width: int, heads: int, *, biased: bool) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = head_width(width, heads)
        self.out_linear = nn.Linear(width, width, bias=biased)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, state: State | None) -> tuple[Tensor, State]:
        """`softmax(q k^T / sqrt(d)) v` over the past and the present. The heads are merged in the output."""
        past = state[0].shape[1] if state else 0
        if state:
            key, value = torch.cat([state[0], key], dim=1), torch.cat([state[1], value], dim=1)
        if torch._C._functorch.peek_interpreter_stack() is None:
            q, k, v = (part.transpose(1, 2) for part in (query, key, value))
            mask = None if past == 0 else _visible(key, past)
            fused = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=past == 0)
            return fused.transpose(1, 2).flatten(-2), (key, value)
        # For populations (vmap): the fused form has no batching rule, so that vmap would loop over the members.
        return torch.einsum("bhts,bshd->bthd", self._rows(query, key, past), value).flatten(-2), (key, value)

    def _rows(self, query: Tensor, key: Tensor, past: int) -> Tensor:
        """The attention weights of the new positions over all positions, `[batch, heads, new, all]`."""
        scores = torch.einsum("bthd,bshd->bhts", query * self.head_width**-0.5, key)
        return scores.masked_fill(~_visible(key, past), -torch.inf).softmax(-1)

    @abstractmethod
    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, `[batch, time, heads, d]` each, from the layer's input."""

    def view(self, x: Tensor, before: State) -> Attention:
        """The attention weights of every position."""
        query, key, _ = self.project(x.unsqueeze(0))
        past = before[0]
        return Attention(self._rows(query, torch.cat([past, key], dim=1), past.shape[1]).squeeze(0))

    def initial_state(self, batch: int) -> State:
        """Empty keys and values."""
        none = self.out_linear.weight.new_zeros(batch, 0, self.heads, self.head_width)
        return none, none


def _visible(key: Tensor, past: int) -> Tensor:
    """The causal mask `[new, all]`: each new position sees itself and all earlier positions."""
    positions = torch.arange(key.shape[1], device=key.device)
    return positions <= positions[past:].unsqueeze(-1)


class _Layer(CausalAttention):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, biased=False)
        self.layer_norm = nn.LayerNorm(width)
        self.slow_net = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        query, key, value = self.project(x)
        output, state = self.attend(query, key, value, state)
        return x + self.out_linear(output), state

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slow = self.slow_net(self.layer_norm(x)).unflatten(-1, (self.heads, 3 * self.head_width))
        query, key, value = slow.chunk(3, dim=-1)
        return query, key, value
