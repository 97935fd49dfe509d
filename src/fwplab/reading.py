"""A model reads a string, and everything that happens inside it is kept: labels, states, updates, norms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwplab.errors import UserError
from fwplab.languages.language import Language
from fwplab.mixers import Mixer, State
from fwplab.mixers.view import View
from fwplab.model import Model

SPECTRUM_LIMIT = 600
"""The largest Jacobian, rows, whose eigenvalues are computed: a second or so on one core."""


@dataclass(frozen=True)
class Layer:
    """One layer while the string is read.

    `inputs` `[time, width]`; `states`: what the layer carries before each position and after the last,
    `[time + 1, ...]` each, empty where the state grows with the string; `norms` `[time + 1]`: of the whole state;
    `view`: what the mixer shows of itself, if anything.
    """

    mixer: Mixer
    inputs: Tensor
    states: State
    norms: Tensor
    view: View | None


@dataclass(frozen=True)
class Reading:
    """A string with the model's label and the language's own at every position, and the layers while it was read.

    `probabilities` `[time, classes]`. `first_error` counts from 0 and is None where all labels are right.
    """

    string: str
    expected: list[str]
    predicted: list[str]
    probabilities: Tensor
    layers: list[Layer]

    @property
    def first_error(self) -> int | None:
        """The first position whose label is wrong."""
        pairs = enumerate(zip(self.expected, self.predicted, strict=True))
        return next((place for place, (right, said) in pairs if right != said), None)


@torch.no_grad()
def read(model: Model, language: Language, string: str) -> Reading:
    """Streams `string` through `model`, symbol by symbol; `UserError` for a string that the language does not label."""
    expected = language.labels(string)
    if not string:
        raise UserError(f"{language.name}: an empty string has no position to look at; choose from: {language.symbols}")
    tokens = torch.tensor([[language.symbols.index(symbol) for symbol in string]])
    states, logits = [model.initial_state(1)], []
    with _inputs(model.mixers) as inputs:
        for token in tokens.unbind(1):
            at_time, state = model.step(token, states[-1])
            logits.append(at_time)
            states.append(state)
    probabilities = torch.cat(logits).softmax(-1)
    predicted = [language.classes[index] for index in probabilities.argmax(-1).tolist()]
    layers = [
        _layer(mixer, torch.cat(inputs[index]), [state[index] for state in states])
        for index, mixer in enumerate(model.mixers)
        if isinstance(mixer, Mixer)
    ]
    return Reading(string, expected, predicted, probabilities, layers)


@contextmanager
def _inputs(mixers: nn.ModuleList) -> Iterator[list[list[Tensor]]]:
    """What each mixer is given, one position after the other, while the context lasts."""
    seen: list[list[Tensor]] = [[] for _ in mixers]
    hooks = [
        mixer.register_forward_pre_hook(lambda _, arguments, into=into: into.append(arguments[0][:, 0]))
        for mixer, into in zip(mixers, seen, strict=True)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _layer(mixer: Mixer, inputs: Tensor, states: Sequence[State]) -> Layer:
    norms = torch.stack([torch.cat([part.flatten() for part in state]).norm() for state in states])
    grows = any(last.shape != first.shape for last, first in zip(states[-1], states[0], strict=True))
    stacked = () if grows else tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return Layer(mixer, inputs, stacked, norms, mixer.view(inputs, tuple(part[:-1] for part in stacked)))


def spectrum(layer: Layer, position: int, head: int) -> Tensor:
    """The eigenvalues of `d state_t / d state_{t-1}` of one head at a position, complex, largest first.

    The Jacobian of the whole step with the input held fixed, so that feedback and self-reference are part of it; a
    layer whose mixer shows no heads (LSTM, e-LSTM) is taken whole. `UserError` for a state that grows, leaves the
    finite numbers, or is larger than `SPECTRUM_LIMIT`.
    """
    if not layer.states:
        raise UserError("this state grows with the string: it has no transition")
    before = [part[position] for part in layer.states]
    chosen = [part[head] if _has_heads(layer) else part for part in before]
    size = sum(part.numel() for part in chosen)
    if size > SPECTRUM_LIMIT:
        raise UserError(f"a head's state of {size} numbers: eigenvalues are computed up to {SPECTRUM_LIMIT}")
    flat = torch.cat([part.flatten() for part in chosen]).expand(size, size).clone().requires_grad_()
    # One copy of the state in the batch for each number of the result: one backward pass gives the whole Jacobian.
    pieces = flat.split([part.numel() for part in chosen], dim=-1)
    state = []
    for part, piece, one in zip(before, pieces, chosen, strict=True):
        whole = part.expand(size, *part.shape).clone()
        if _has_heads(layer):
            whole[:, head] = piece.view(size, *one.shape)
        else:
            whole = piece.view(size, *one.shape)
        state.append(whole)
    _, after = layer.mixer.step(layer.inputs[position].expand(size, -1), tuple(state))
    moved = [part[:, head] if _has_heads(layer) else part for part in after]
    (jacobian,) = torch.autograd.grad(torch.cat([part.flatten(1) for part in moved], dim=-1).diagonal().sum(), flat)
    if not jacobian.isfinite().all():
        raise UserError("the state has left the finite numbers: it has no eigenvalues")
    eigenvalues: Tensor = torch.linalg.eigvals(jacobian.double())
    return eigenvalues[eigenvalues.abs().argsort(descending=True)]


def _has_heads(layer: Layer) -> bool:
    return layer.view is not None
