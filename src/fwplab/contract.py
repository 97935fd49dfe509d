"""Checks of a mixer from another package against the requirements of `Mixer`.

A layer that breaks one of them would not fail in training, but give wrong results.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers import Mixer
from fwplab.model import Model

BATCH, TIME = 3, 12
CUT = 7
"""The position where the input is split in two, and from which the test for causality changes it."""
TOLERANCE = 1e-3
"""The largest difference of two equal results in float32, relative to the largest value."""


def check(name: str, model: Model) -> None:
    """Checks every layer of a model of the mixer `name` on a few short inputs.

    The requirements:

    - The output and the state have the documented types and shapes.
    - An output depends neither on later positions nor on the other strings of the batch.
    - Two parts with the state carried over, and single steps, give the same output as the whole sequence.
    - The result is the same in training and evaluation mode, and the same each time.

    It leaves PyTorch's random generator unchanged. Raises `UserError` with the first requirement that is not met.
    """
    hidden = model.readout.in_features
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for index, layer in enumerate(model.mixers):
            if not isinstance(layer, Mixer):
                raise UserError(f"the layer of mixer {name!r} is a {type(layer).__name__}, no fwplab.mixers.Mixer")
            width = hidden if index else model.embedding.embedding_dim
            parameter = next(model.parameters())
            x = torch.randn(BATCH, TIME, width, generator=torch.Generator().manual_seed(0)).to(parameter)
            try:
                violation = first_violation(layer, x, hidden)
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
                first_line = f"{type(error).__name__}: {error}".splitlines()[0]
                violation = f"fails on an input {list(x.shape)}: {first_line}"
            if violation:
                raise UserError(f"the layer of mixer {name!r} {violation}; docs/own-layer.md says what a layer must do")


def first_violation(layer: Mixer, x: Tensor, width: int) -> str | None:
    """The first requirement that a layer does not meet on the input `x` `[batch, time, features]`; None if all are."""
    result = layer(x)
    if wrong := wrong_result(result, x, width):
        return wrong
    output, state = result
    if (names := layer.state_names) and len(names) != len(state):
        return f"gives {len(names)} names to a state of {len(state)} parts"
    variants = equivalent_outputs(layer, x, output)
    return next((violation for violation, compute in variants.items() if not close(output, compute())), None)


def wrong_result(result: object, x: Tensor, width: int) -> str | None:
    """What is wrong with the types or the shapes of a layer's result; None if nothing is."""
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        return f"returns a {type(result).__name__}, not the output and the state after it"
    output, state = result
    expected = [*x.shape[:2], width]
    if list(output.shape) != expected or output.dtype != x.dtype:
        return f"returns an output {list(output.shape)} of {output.dtype}, not {expected} of {x.dtype}"
    tensors = isinstance(state, tuple) and all(isinstance(tensor, Tensor) for tensor in state)
    if not tensors or any(tensor.dim() < 1 or len(tensor) != len(x) for tensor in state):
        return "returns a state that is no tuple of tensors with the batch first"
    return None


def equivalent_outputs(layer: Mixer, x: Tensor, output: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Computations that must all give `output`, by the message for one that does not."""

    def in_mode(training: bool) -> Tensor:
        before = layer.training
        try:
            repeated: Tensor = layer.train(training)(x)[0]
        finally:
            layer.train(before)
        return repeated

    def with_other_end() -> Tensor:
        changed: Tensor = layer(torch.cat([x[:, :CUT], x[:, CUT:].flip(0, 1) + 1], dim=1))[0]
        return torch.cat([changed[:, :CUT], output[:, CUT:]], dim=1)

    def in_two_parts() -> Tensor:
        first, state = layer(x[:, :CUT])
        return torch.cat([first, layer(x[:, CUT:], state)[0]], dim=1)

    def in_steps() -> Tensor:
        outputs, state = [], layer.initial_state(len(x))
        for at_time in x.unbind(1):
            one, state = layer.step(at_time, state)
            outputs.append(one)
        return torch.stack(outputs, dim=1)

    return {
        "gives another output the second time (dropout?): the same run must give the same bits": lambda: in_mode(True),
        "gives another output in eval mode (dropout, batch normalisation?): it is trained and used in one mode": (
            lambda: in_mode(False)
        ),
        "looks ahead: an output depends on later positions, and with it on the label": with_other_end,
        "mixes the strings of a batch: one alone gives another output": (
            lambda: torch.cat([layer(row.unsqueeze(0))[0] for row in x])
        ),
        "gives another output in two parts with the state carried over than in one": in_two_parts,
        "gives another output step by step from its initial state than in one part": in_steps,
    }


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are equal up to rounding. NaN counts as equal to NaN."""
    if one.shape != other.shape:
        return False
    size = max(1e-6, float(one.nan_to_num().abs().max()))
    return torch.allclose(one, other, rtol=0.0, atol=TOLERANCE * size, equal_nan=True)
