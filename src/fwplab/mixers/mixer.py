"""What every mixer is: a frozen spec, and the module it builds, which runs, steps and carries a state."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from fwplab.errors import UserError
from fwplab.mixers._view import View

State = tuple[Tensor, ...]
"""What a mixer carries from one position to the next: tensors with the batch first."""


class Mixer(nn.Module, ABC):
    """Moves information along time. Run on a whole sequence or stepped, the outputs are the same.

    `state_names`: what the parts of the state are called, in their order; they are numbered where none are given.
    """

    state_names: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """`x` `[batch, time, width]` to the outputs `[batch, time, width]` and the state after the last position.

        A mixer whose spec says `packs` takes a third argument, `cu_seqlens` `[sequences + 1]` or None: the bounds of
        sequences that lie one behind the other in a batch of 1.
        """

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state before the first position."""

    def named_state(self, state: State) -> dict[str, Tensor]:
        """The parts of a state by their names."""
        names = self.state_names or tuple(f"part {number + 1}" for number in range(len(state)))
        return dict(zip(names, state, strict=True))

    def saturation(self, state: State) -> Tensor | None:
        """The share of units with |tanh| above 0.99 in this state, `[batch]`; None for a mixer without such units."""
        return None

    def view(self, x: Tensor, before: State) -> View | None:
        """What every position of a string does inside the layer; None for a mixer that shows nothing of itself.

        `x` `[time, width]` are the layer's inputs, `before` the states before each of them, in place of the batch; of
        a state that grows, along its second axis, the one before the first position.
        """
        return None

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One position: `x` `[batch, width]` to the output `[batch, width]` and the new state."""
        output, state = self(x.unsqueeze(1), state)
        return output.squeeze(1), state


@dataclass(frozen=True)
class MixerSpec(ABC):
    """The named switches of a mixer; their defaults are the paper's layer.

    `feed_forward`: where the block's feed-forward part has its LayerNorm ("pre", "post"), or "none" for no such part.
    `final_norm`: one more LayerNorm before the readout. `residual`: the mixer adds to its input, so that the
    embedding must be as wide as the layers. `constant_memory`: the state does not grow with the sequence.
    `packs`: the layer takes sequences of unequal lengths one behind the other, so that no work is done on padding.
    `same_start`: all layers start from the weights of the first.
    """

    feed_forward: ClassVar[Literal["pre", "post", "none"]] = "pre"
    final_norm: ClassVar[bool] = False
    residual: ClassVar[bool] = True
    constant_memory: ClassVar[bool] = True
    packs: ClassVar[bool] = False
    same_start: bool = False

    @abstractmethod
    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """A fresh layer; its weights are drawn from torch's current generator."""

    def depth(self, layers: int) -> int:
        """How many layers the model really gets when `layers` are asked for."""
        return layers


def saturated_share(values: Tensor) -> Tensor:
    """The share of values with an absolute value above 0.99, `[batch]`.

    values: outputs of `tanh`, `[batch, ...]`.
    """
    return (values.abs() > 0.99).flatten(1).float().mean(1)


def head_width(width: int, heads: int) -> int:
    """Width of one head; a `UserError` where the heads do not divide the width."""
    if heads < 1 or width % heads:
        divisors = ", ".join(str(n) for n in range(1, width + 1) if width % n == 0)
        raise UserError(f"{heads} heads do not divide a width of {width}; choose from: {divisors}")
    return width // heads
