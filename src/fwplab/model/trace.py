"""A trace of a model on one string: its labels, and the states, updates and norms inside every layer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fwplab.errors import UserError
from fwplab.languages.language import Language
from fwplab.mixers import Mixer, State, View
from fwplab.model.model import Model

SPECTRUM_LIMIT = 600
"""The largest size of a state whose Jacobian's eigenvalues are computed; this takes about a second on one core."""
WINDOW = 200
"""The number of positions in a window. One state is kept for each window, so that long strings need little memory."""


@dataclass(frozen=True)
class Layer:
    """The trace of one layer over a window of the string."""

    mixer: Mixer
    """The mixer of the layer."""
    start: int
    """The first position of the window, counted from 0."""
    inputs: Tensor
    """The inputs of the mixer, `[time, width]`."""
    states: State
    """The states before each position and after the last, `[time + 1, ...]` a tensor; empty if the state grows."""
    norms: Tensor
    """The norms of these states, `[time + 1]`."""
    view: View | None
    """What the mixer itself reports about the window, such as its fast-weight updates; None if it reports nothing."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The trace of a model on a string. `layers` recomputes the trace of the layers, one window at a time."""

    string: str
    """The string."""
    expected: list[str]
    """The label of each position in the language."""
    predicted: list[str]
    """The model's label of each position."""
    probabilities: Tensor
    """The model's probabilities of the labels, `[time, classes]`."""
    first_error: int | None
    """The first position with a wrong label, counted from 0; None if all labels are right."""
    model: Model
    """The model."""
    tokens: Tensor
    """The token ids, `[1, time]`."""
    before: list[list[State]]
    """The state of every layer before each window."""

    @torch.no_grad()
    def layers(self, position: int = 0) -> list[Layer]:
        """The trace of every layer over the window that contains `position`; windows start at multiples of `WINDOW`."""
        window = position // WINDOW
        tokens = self.tokens[:, window * WINDOW : (window + 1) * WINDOW]
        states = [self.before[window]]
        # A growing state would need quadratic memory if it was kept at every position: read the window in one call.
        _, after_first = self.model.scan(tokens[:, :1], states[0])
        at_once = tokens.shape[1] if grew(states[0], after_first) else 1
        with _inputs(self.model.mixers) as inputs:
            for piece in tokens.split(at_once, dim=1):
                states.append(self.model.scan(piece, states[-1])[1])
        start = window * WINDOW
        return [
            _layer(mixer, start, torch.cat(inputs[index]), [state[index] for state in states])
            for index, mixer in enumerate(self.model.mixers)
            if isinstance(mixer, Mixer)
        ]


@torch.no_grad()
def read(model: Model, language: Language, string: str) -> Reading:
    """Runs `model` on `string`, one window at a time, and returns the trace.

    Raises `UserError` for an empty string, and for symbols that are not in the language's alphabet.
    """
    expected = language.labels(string)
    if not string:
        raise UserError(f"{language.name}: an empty string has no positions; choose from: {language.symbols}")
    tokens = torch.tensor([[language.symbols.index(symbol) for symbol in string]])
    before: list[list[State]] = []
    logits, state = [], model.initial_state(1)
    for window in tokens.split(WINDOW, dim=1):
        before.append(state)
        window_logits, state = model.scan(window, state)
        logits.append(window_logits[0])
        if grew(before[0], state):
            # Earlier states are prefixes of this one. Views of it avoid a copy for each window, quadratic in memory.
            before = [_prefix(index * WINDOW, state) for index in range(len(before))]
    probabilities = torch.cat(logits).softmax(-1)
    predicted = [language.classes[index] for index in probabilities.argmax(-1).tolist()]
    pairs = enumerate(zip(expected, predicted, strict=True))
    error = next((position for position, (label, prediction) in pairs if label != prediction), None)
    return Reading(string, expected, predicted, probabilities, error, model, tokens, before)


@contextmanager
def _inputs(mixers: nn.ModuleList) -> Iterator[list[list[Tensor]]]:
    """Collects the inputs of each mixer, `[positions, width]` a call, inside the context."""
    inputs: list[list[Tensor]] = [[] for _ in mixers]
    hooks = [
        mixer.register_forward_pre_hook(lambda _, arguments, own=own: own.append(arguments[0][0]))
        for mixer, own in zip(mixers, inputs, strict=True)
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def _layer(mixer: Mixer, start: int, inputs: Tensor, states: Sequence[State]) -> Layer:
    """The trace of one layer; `states` has those at all positions, or, if they grow, the first and the last."""
    if grew([states[0]], [states[-1]]):
        squares = sum(part.double().square().flatten(2).sum((0, 2)) for part in states[-1])
        norms = functional.pad(torch.as_tensor(squares).cumsum(0), (1, 0))[start:].sqrt()
        return Layer(mixer, start, inputs, (), norms, mixer.view(inputs, states[0]))
    norms = torch.stack([torch.cat([part.flatten() for part in state]).norm() for state in states])
    stacked = tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return Layer(mixer, start, inputs, stacked, norms, mixer.view(inputs, tuple(part[:-1] for part in stacked)))


def grew(before: Sequence[State], after: Sequence[State]) -> bool:
    """Whether the state of some layer has changed its shape, as attention's does with every position."""
    layers = zip(before, after, strict=True)
    return any(one.shape != other.shape for parts in layers for one, other in zip(*parts, strict=True))


def _prefix(position: int, state: Sequence[State]) -> list[State]:
    """The state before `position`, from a later one; a growing state is `[batch, time, ...]`."""
    return [tuple(part[:, :position] for part in layer) for layer in state]


def spectrum(layer: Layer, position: int, head: int, largest: int = SPECTRUM_LIMIT) -> Tensor:
    """The eigenvalues of the Jacobian `d state_t / d state_{t-1}` of one head, complex, sorted by falling modulus.

    The input is held fixed; feedback of the output and self-reference are part of the Jacobian. For a mixer without
    heads (LSTM, e-LSTM) it is that of the whole layer.

    layer: the trace of the layer.
    position: the position `t` in the string, counted from 0; it must be in the layer's window.
    head: the head, counted from 0.
    largest: the largest size of a state.

    Raises `UserError` if the state grows with the string, is not finite, or is larger than `largest`.
    """
    if not layer.states:
        raise UserError("this state grows with the string, so its step has no square Jacobian")
    if not 0 <= position - layer.start < len(layer.inputs):
        last = layer.start + len(layer.inputs) - 1
        raise UserError(f"position {position} is not in this window, {layer.start} to {last}: take layers({position})")
    before = [part[position - layer.start] for part in layer.states]
    chosen = [part[head] if _has_heads(layer) else part for part in before]
    size = sum(part.numel() for part in chosen)
    if size > largest:
        raise UserError(f"a head's state of {size} numbers: eigenvalues are computed up to {largest}")
    flat = torch.cat([part.flatten() for part in chosen]).expand(size, size).clone().requires_grad_()
    # A batch of `size` copies of the state gives one row of the Jacobian each, so one backward pass gives all of it.
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
    new = [part[:, head] if _has_heads(layer) else part for part in after]
    (jacobian,) = torch.autograd.grad(torch.cat([part.flatten(1) for part in new], dim=-1).diagonal().sum(), flat)
    if not jacobian.isfinite().all():
        raise UserError("the state is not finite, so its Jacobian has no eigenvalues")
    eigenvalues: Tensor = torch.linalg.eigvals(jacobian.double())
    return eigenvalues[eigenvalues.abs().argsort(descending=True)]


def _has_heads(layer: Layer) -> bool:
    return layer.view is not None
