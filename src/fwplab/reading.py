"""A model reads a string, and everything that happens inside it is kept: labels, states, updates, norms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fwplab.errors import UserError
from fwplab.languages.language import Language
from fwplab.mixers import Mixer, State
from fwplab.mixers.view import View
from fwplab.model import Model

SPECTRUM_LIMIT = 600
"""The largest Jacobian, rows, whose eigenvalues are computed: a second or so on one core."""
WINDOW = 200
"""Positions that are looked at together: what a string of any length costs in memory is a state a window."""


@dataclass(frozen=True)
class Layer:
    """One layer while it reads a window of the string, the positions from `start`.

    `inputs` `[time, width]`; `states`: what the layer carries before each position and after the last,
    `[time + 1, ...]` each, empty where the state grows with the string; `norms` `[time + 1]`: of the whole state;
    `view`: what the mixer shows of itself, if anything.
    """

    mixer: Mixer
    start: int
    inputs: Tensor
    states: State
    norms: Tensor
    view: View | None


@dataclass(frozen=True, eq=False)
class Reading:
    """A string with the model's label and the language's own at every position; `layers` shows them from inside.

    `probabilities` `[time, classes]`; `first_error` counts from 0 and is None where all labels are right. `tokens`
    `[1, time]`, and `before`, the state of every layer before each window, are what a window is read again from.
    """

    string: str
    expected: list[str]
    predicted: list[str]
    probabilities: Tensor
    first_error: int | None
    model: Model
    tokens: Tensor
    before: list[list[State]]

    @torch.no_grad()
    def layers(self, position: int = 0) -> list[Layer]:
        """Every layer over the window of `WINDOW` positions, from a multiple of it, that `position` lies in."""
        window = position // WINDOW
        tokens = self.tokens[:, window * WINDOW : (window + 1) * WINDOW]
        states = [self.before[window]]
        # A state that grows is not kept at every position: the window is read at once.
        _, moved = self.model.scan(tokens[:, :1], states[0])
        together = tokens.shape[1] if grew(states[0], moved) else 1
        with _inputs(self.model.mixers) as inputs:
            for token in tokens.split(together, dim=1):
                states.append(self.model.scan(token, states[-1])[1])
        start = window * WINDOW
        return [
            _layer(mixer, start, torch.cat(inputs[index]), [state[index] for state in states])
            for index, mixer in enumerate(self.model.mixers)
            if isinstance(mixer, Mixer)
        ]


@torch.no_grad()
def read(model: Model, language: Language, string: str) -> Reading:
    """Streams `string` through `model`, window by window; `UserError` for one that the language does not label."""
    expected = language.labels(string)
    if not string:
        raise UserError(f"{language.name}: an empty string has no position to look at; choose from: {language.symbols}")
    tokens = torch.tensor([[language.symbols.index(symbol) for symbol in string]])
    before: list[list[State]] = []
    logits, state = [], model.initial_state(1)
    for window in tokens.split(WINDOW, dim=1):
        before.append(state)
        in_window, state = model.scan(window, state)
        logits.append(in_window[0])
        if grew(before[0], state):
            # The states before are its parts: one that is kept whole for each window would be quadratic in time.
            before = [_until(index * WINDOW, state) for index in range(len(before))]
    probabilities = torch.cat(logits).softmax(-1)
    predicted = [language.classes[index] for index in probabilities.argmax(-1).tolist()]
    pairs = enumerate(zip(expected, predicted, strict=True))
    error = next((place for place, (right, said) in pairs if right != said), None)
    return Reading(string, expected, predicted, probabilities, error, model, tokens, before)


@contextmanager
def _inputs(mixers: nn.ModuleList) -> Iterator[list[list[Tensor]]]:
    """What each mixer is given, `[positions, width]` a call, while the context lasts."""
    seen: list[list[Tensor]] = [[] for _ in mixers]
    hooks = [
        mixer.register_forward_pre_hook(lambda _, arguments, into=into: into.append(arguments[0][0]))
        for mixer, into in zip(mixers, seen, strict=True)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _layer(mixer: Mixer, start: int, inputs: Tensor, states: Sequence[State]) -> Layer:
    """`states`: before each position and after the last, or before the window and after it where they grow."""
    if grew([states[0]], [states[-1]]):
        squares = sum(part.double().square().flatten(2).sum((0, 2)) for part in states[-1])
        norms = functional.pad(torch.as_tensor(squares).cumsum(0), (1, 0))[start:].sqrt()
        return Layer(mixer, start, inputs, (), norms, mixer.view(inputs, states[0]))
    norms = torch.stack([torch.cat([part.flatten() for part in state]).norm() for state in states])
    stacked = tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return Layer(mixer, start, inputs, stacked, norms, mixer.view(inputs, tuple(part[:-1] for part in stacked)))


def grew(before: Sequence[State], after: Sequence[State]) -> bool:
    """Whether the state of some layer is larger than it was."""
    pairs = zip(before, after, strict=True)
    return any(one.shape != other.shape for parts in pairs for one, other in zip(*parts, strict=True))


def _until(position: int, state: Sequence[State]) -> list[State]:
    """What a state that grew held before `position`; it grows along its second axis, `[batch, time, ...]`."""
    return [tuple(part[:, :position] for part in layer) for layer in state]


def spectrum(layer: Layer, position: int, head: int, largest: int = SPECTRUM_LIMIT) -> Tensor:
    """The eigenvalues of `d state_t / d state_{t-1}` of one head at a position, complex, largest first.

    The Jacobian of the whole step with the input held fixed, so that feedback and self-reference are part of it; a
    layer whose mixer shows no heads (LSTM, e-LSTM) is taken whole. `position` counts from the string's start.
    `UserError` for a state that grows, leaves the finite numbers, or is larger than `largest`.
    """
    if not layer.states:
        raise UserError("this state grows with the string: it has no transition")
    if not 0 <= position - layer.start < len(layer.inputs):
        last = layer.start + len(layer.inputs) - 1
        raise UserError(f"position {position} is not in this window, {layer.start} to {last}: take layers({position})")
    before = [part[position - layer.start] for part in layer.states]
    chosen = [part[head] if _has_heads(layer) else part for part in before]
    size = sum(part.numel() for part in chosen)
    if size > largest:
        raise UserError(f"a head's state of {size} numbers: eigenvalues are computed up to {largest}")
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
    _, after = layer.mixer.step(layer.inputs[position - layer.start].expand(size, -1), tuple(state))
    moved = [part[:, head] if _has_heads(layer) else part for part in after]
    (jacobian,) = torch.autograd.grad(torch.cat([part.flatten(1) for part in moved], dim=-1).diagonal().sum(), flat)
    if not jacobian.isfinite().all():
        raise UserError("the state has left the finite numbers: it has no eigenvalues")
    eigenvalues: Tensor = torch.linalg.eigvals(jacobian.double())
    return eigenvalues[eigenvalues.abs().argsort(descending=True)]


def _has_heads(layer: Layer) -> bool:
    return layer.view is not None
