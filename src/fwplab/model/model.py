"""The model: an embedding, layers of a sequence mixer and a feed-forward block each, and a linear readout."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fwplab.errors import UserError
from fwplab.mixers import Mixer, MixerSpec, State
from fwplab.model.initialisation import initialise
from fwplab.model.spec import ModelSpec
from fwplab.ops import packs

__all__ = ["FeedForward", "Model", "ModelSpec", "build", "drawn_from"]


class FeedForward(nn.Module):
    """A feed-forward block with a residual connection.

    With `norm="pre"` it computes `x + Lin2(ReLU(Lin1(LayerNorm(x))))`, with "post"
    `LayerNorm(x + Lin2(ReLU(Lin1(x))))`.

    width: the width of its input and its output.
    factor: its inner width as a multiple of `width`.
    """

    def __init__(self, width: int, factor: int, norm: Literal["pre", "post"]) -> None:
        super().__init__()
        self.norm = norm
        self.layer_norm = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, factor * width)
        self.linear2 = nn.Linear(factor * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, time, width]` to the same shape."""
        before = self.layer_norm(x) if self.norm == "pre" else x
        added = x + self.linear2(functional.relu(self.linear1(before)))
        after: Tensor = added if self.norm == "pre" else self.layer_norm(added)
        return after


class Model(nn.Module):
    """Token ids `[batch, time]` to logits `[batch, time, classes]`: `Embedding -> [mixer, feed-forward] -> Linear`.

    vocabulary: the number of token ids.
    classes: the number of labels.
    """

    def __init__(self, mixer: MixerSpec, spec: ModelSpec, vocabulary: int, classes: int) -> None:
        super().__init__()
        embedding = spec.embedding or spec.hidden
        if mixer.residual and embedding != spec.hidden:
            raise UserError(
                f"a residual mixer needs an embedding as wide as its layers: choose {spec.hidden}, not {embedding}"
            )
        self.packs = mixer.packs
        self.embedding = nn.Embedding(vocabulary, embedding)
        depth = mixer.depth(spec.layers)
        widths = [embedding] + [spec.hidden] * (depth - 1)
        self.mixers = nn.ModuleList(mixer.build(width, spec.hidden, spec.heads) for width in widths)
        self.feed_forwards = nn.ModuleList(
            nn.Identity()
            if mixer.feed_forward == "none"
            else FeedForward(spec.hidden, spec.feed_forward_factor, mixer.feed_forward)
            for _ in range(depth)
        )
        initialise(self.mixers, spec.initialisation)
        with torch.no_grad():
            mixer.start_embedding(self.embedding.weight, spec.heads)
        if mixer.same_start:
            for layer in range(1, depth):
                self.mixers[layer].load_state_dict(self.mixers[0].state_dict())
                self.feed_forwards[layer].load_state_dict(self.feed_forwards[0].state_dict())
        self.final_norm = nn.LayerNorm(spec.hidden) if mixer.final_norm else nn.Identity()
        self.readout = nn.Linear(spec.hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of every position, `[batch, time, classes]`."""
        return self.scan(tokens)[0]

    def loss(self, tokens: Tensor, labels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The mean cross-entropy over all positions whose label is not IGNORE (-100).

        tokens: token ids, `[batch, time]`.
        labels: class ids or IGNORE, `[batch, time]`.
        lengths: the lengths of the strings, `[batch]`. With them, the padding is not computed if the mixer and the
            kernels support packed strings.
        """
        weight = self.readout.weight
        if lengths is None or not (self.packs and packs(weight.device, weight.dtype)):
            return functional.cross_entropy(self(tokens).flatten(0, 1), labels.flatten())
        inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        cu_seqlens = functional.pad(lengths.cumsum(0), (1, 0))
        logits, _ = self.mix(self.embedding(tokens[inside]).unsqueeze(0), cu_seqlens=cu_seqlens)
        return functional.cross_entropy(logits.squeeze(0), labels[inside])

    def scan(self, tokens: Tensor, state: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """The logits of every position and the state of every layer after the last position.

        tokens: token ids, `[batch, time]`.
        state: the state of every layer before the first position; None for the initial state.
        """
        return self.mix(self.embedding(tokens), state)

    def mix(
        self, x: Tensor, state: Sequence[State] | None = None, *, cu_seqlens: Tensor | None = None
    ) -> tuple[Tensor, list[State]]:
        """`scan` for tokens that are embedded already.

        x: embedded tokens, `[batch, time, embedding]`.
        cu_seqlens: the ends of the packed strings, as a mixer with `packs` takes them; None if each row is one string.
        """
        after: list[State] = []
        packed = () if cu_seqlens is None else (cu_seqlens,)
        for layer, (mixer, feed_forward) in enumerate(zip(self.mixers, self.feed_forwards, strict=True)):
            x, layer_state = mixer(x, state[layer] if state is not None else None, *packed)
            x = feed_forward(x)
            after.append(layer_state)
        return self.readout(self.final_norm(x)), after

    def step(self, tokens: Tensor, state: Sequence[State]) -> tuple[Tensor, list[State]]:
        """Reads one position: token ids `[batch]` and a state to logits `[batch, classes]` and the new state."""
        logits, after = self.scan(tokens.unsqueeze(1), state)
        return logits.squeeze(1), after

    def initial_state(self, batch: int) -> list[State]:
        """The state of every layer before the first position."""
        return [mixer.initial_state(batch) for mixer in self._mixers()]

    def parameter_count(self) -> int:
        """The number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def state_size(self) -> int:
        """The number of values in the initial state, which for a state of fixed size is that of any position."""
        return sum(tensor.numel() for layer in self.initial_state(1) for tensor in layer)

    def _mixers(self) -> list[Mixer]:
        return [mixer for mixer in self.mixers if isinstance(mixer, Mixer)]


def build(mixer: MixerSpec, spec: ModelSpec, vocabulary: int, classes: int, seed: int) -> Model:
    """Builds a model whose initial weights depend on the arguments alone. Its weights are float32, on the CPU."""
    with drawn_from(seed):
        return Model(mixer, spec, vocabulary, classes)


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """In this context, modules are made on the CPU, and draw float32 weights from this seed.

    They draw from PyTorch's global random generator of the CPU, which is restored at the end. The caller's settings,
    such as the default device and type, neither matter nor change, and neither do the generators of GPUs.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.device("cpu"),
            torch.inference_mode(False),
            torch.autocast("cpu", enabled=False),
        ):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(default)
