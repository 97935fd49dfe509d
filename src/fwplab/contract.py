"""Whether a layer from outside does what `Mixer` promises: what it breaks would not fail, but be a wrong result."""

from collections.abc import Callable

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers import Mixer
from fwplab.model import Model

BATCH, TIME = 3, 12
CUT = 7
"""Where the second piece begins, and what must not be seen before."""
CLOSE = 1e-3
"""Part of the largest value by which two ways of computing the same may differ, in float32."""


def check(name: str, model: Model) -> None:
    """A `UserError` that names what the layers of mixer `name` break; a few short passes, no random number used up.

    Asked is: output and state of the right kind, no sight of later positions or of other strings, pieces and steps
    equal to the whole, one result whatever the mode and however often.
    """
    hidden = model.readout.in_features
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for place, layer in enumerate(model.mixers):
            if not isinstance(layer, Mixer):
                raise UserError(f"the layer of mixer {name!r} is a {type(layer).__name__}, no fwplab.mixers.Mixer")
            width = hidden if place else model.embedding.embedding_dim
            parameter = next(model.parameters())
            x = torch.randn(BATCH, TIME, width, generator=torch.Generator().manual_seed(0)).to(parameter)
            try:
                broken = what_breaks(layer, x, hidden)
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
                first_line = f"{type(error).__name__}: {error}".splitlines()[0]
                broken = f"fails on an input {list(x.shape)}: {first_line}"
            if broken:
                raise UserError(f"the layer of mixer {name!r} {broken}; docs/own-layer.md says what a layer must do")


def what_breaks(layer: Mixer, x: Tensor, width: int) -> str | None:
    """The first promise that a layer breaks on `x` `[batch, time, width]`."""
    result = layer(x)
    if wrong := wrong_kind(result, x, width):
        return wrong
    output, state = result
    if (names := layer.state_names) and len(names) != len(state):
        return f"gives {len(names)} names to a state of {len(state)} parts"
    return next((why for why, again in other_ways(layer, x, output).items() if not close(output, again())), None)


def wrong_kind(result: object, x: Tensor, width: int) -> str | None:
    """What is wrong with the shape or the kind of what a layer returns."""
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        return f"returns a {type(result).__name__}, not the output and the state after it"
    output, state = result
    wanted = [*x.shape[:2], width]
    if list(output.shape) != wanted or output.dtype != x.dtype:
        return f"returns an output {list(output.shape)} of {output.dtype}, not {wanted} of {x.dtype}"
    tensors = isinstance(state, tuple) and all(isinstance(tensor, Tensor) for tensor in state)
    if not tensors or any(tensor.dim() < 1 or len(tensor) != len(x) for tensor in state):
        return "returns a state that is no tuple of tensors with the batch first"
    return None


def other_ways(layer: Mixer, x: Tensor, output: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What must give the same output, each by what is wrong where it does not."""

    def in_mode(training: bool) -> Tensor:
        before = layer.training
        try:
            found: Tensor = layer.train(training)(x)[0]
        finally:
            layer.train(before)
        return found

    def with_other_end() -> Tensor:
        found: Tensor = layer(torch.cat([x[:, :CUT], x[:, CUT:].flip(0, 1) + 1], dim=1))[0]
        return torch.cat([found[:, :CUT], output[:, CUT:]], dim=1)

    def in_pieces() -> Tensor:
        first, between = layer(x[:, :CUT])
        return torch.cat([first, layer(x[:, CUT:], between)[0]], dim=1)

    def in_steps() -> Tensor:
        outputs, now = [], layer.initial_state(len(x))
        for at_time in x.unbind(1):
            one, now = layer.step(at_time, now)
            outputs.append(one)
        return torch.stack(outputs, dim=1)

    return {
        "gives another output the second time (dropout?): the same run must give the same bits": lambda: in_mode(True),
        "gives another output in eval mode (dropout, batch normalisation?): it is trained and judged in one mode": (
            lambda: in_mode(False)
        ),
        "looks ahead: an output depends on later positions, and with it on the label": with_other_end,
        "mixes the strings of a batch: one alone gives another output": (
            lambda: torch.cat([layer(row.unsqueeze(0))[0] for row in x])
        ),
        "gives another output in two pieces with the state carried on than in one": in_pieces,
        "gives another output step by step from its initial state than in one piece": in_steps,
    }


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are the same but for rounding; a value that is not a number is like another."""
    if one.shape != other.shape:
        return False
    size = max(1e-6, float(one.nan_to_num().abs().max()))
    return torch.allclose(one, other, rtol=0.0, atol=CLOSE * size, equal_nan=True)
