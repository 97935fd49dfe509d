"""The base class of the layers that a mixer's spec builds. The base class of the specs is in `_spec`."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from fwplab.mixers._spec import MixerSpec, head_width
from fwplab.mixers._view import View

__all__ = ["Mixer", "MixerSpec", "State", "head_width", "saturated_share"]

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


def saturated_share(activations: Tensor) -> Tensor:
    """The share of values with absolute value above 0.99, `[batch]`. `activations`: tanh values, `[batch, ...]`."""
    return (activations.abs() > 0.99).flatten(1).float().mean(1)
