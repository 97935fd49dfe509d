"""The base classes of mixers: a frozen spec, and the module that it builds."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from fwplab.errors import UserError
from fwplab.mixers._view import View

State = tuple[Tensor, ...]
"""The recurrent state of a mixer: tensors with the batch as their first axis."""


class Mixer(nn.Module, ABC):
    """A layer that moves information along time. A whole sequence and single steps give the same outputs.

    `state_names`: the names of the parts of the state, in order. Without names the parts are numbered.
    """

    state_names: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Returns the outputs `[batch, time, width]` and the state after the last position.

        - `x`: the inputs, `[batch, time, input width]`.
        - `state`: the state before the first position. None stands for the initial state.
        - `cu_seqlens`: only if the spec has `packs`: the boundaries `[sequences + 1]` of sequences that are
          concatenated along time in a batch of 1, or None.
        """

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state before the first position."""

    def named_state(self, state: State) -> dict[str, Tensor]:
        """The parts of a state, by name."""
        names = self.state_names or tuple(f"part {number + 1}" for number in range(len(state)))
        return dict(zip(names, state, strict=True))

    def saturation(self, state: State) -> Tensor | None:
        """The share of units with `|tanh| > 0.99` in this state, `[batch]`; None if the mixer has no such units."""
        return None

    def view(self, x: Tensor, before: State) -> View | None:
        """The internal quantities of the layer at every position of a string; None if the mixer does not define them.

        - `x`: the inputs of the layer, `[time, width]`.
        - `before`: the state before each position, with time as the first axis. For a state that grows with the
          sequence: the state before the first position.
        """
        return None

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one position: maps `x` `[batch, width]` to the output `[batch, width]` and the new state."""
        output, state = self(x.unsqueeze(1), state)
        return output.squeeze(1), state


@dataclass(frozen=True)
class MixerSpec(ABC):
    """The switches of a mixer, by name. The defaults give the paper's layer.

    - `feed_forward`: where the feed-forward part has its LayerNorm ("pre", "post"), or "none" for no such part.
    - `final_norm`: whether there is another LayerNorm before the readout.
    - `residual`: whether the mixer adds its input to its output. The embedding must then be as wide as the layers.
    - `constant_memory`: whether the size of the state is independent of the length of the sequence.
    - `packs`: whether the layer accepts concatenated sequences of unequal lengths, which avoids work on padding.
    - `same_start`: whether all layers start with the weights of the first.
    """

    feed_forward: ClassVar[Literal["pre", "post", "none"]] = "pre"
    final_norm: ClassVar[bool] = False
    residual: ClassVar[bool] = True
    constant_memory: ClassVar[bool] = True
    packs: ClassVar[bool] = False
    same_start: bool = False

    @abstractmethod
    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """Builds a new layer. Its weights are drawn from the global random generator of PyTorch."""

    def depth(self, layers: int) -> int:
        """The number of layers of the model when `layers` are requested."""
        return layers

    def start_embedding(self, weight: Tensor, heads: int) -> None:
        """Changes the starting embedding in place, `weight` `[symbols, width]`. Most mixers leave it as it is drawn."""
        return


def saturated_share(activations: Tensor) -> Tensor:
    """The share of values with absolute value above 0.99, `[batch]`. `activations`: tanh values, `[batch, ...]`."""
    return (activations.abs() > 0.99).flatten(1).float().mean(1)


def head_width(width: int, heads: int) -> int:
    """The width of one head. Raises `UserError` if `heads` does not divide `width`."""
    if heads < 1 or width % heads:
        divisors = ", ".join(str(n) for n in range(1, width + 1) if width % n == 0)
        raise UserError(f"{heads} heads do not divide a width of {width}; choose from: {divisors}")
    return width // heads
