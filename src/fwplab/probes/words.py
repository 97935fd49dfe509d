"""What all probes share: words that nothing else has seen, and a model that reads them symbol by symbol."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.languages import Language
from fwplab.languages.dataset import Dataset, encode
from fwplab.mixers import Mixer, State
from fwplab.model import Model
from fwplab.reading import grew

Values = dict[tuple[int, str], float]
"""What a probe found: a value by length (or position, or step) and name."""
SEED = 3_000
"""Of the words, which no training and no other study draws."""
Intervene = Callable[[int, list[State], list[State]], list[State]]
"""From a position and the states before and after it to the state to go on with."""


@dataclass(frozen=True, eq=False)
class Words:
    """Words as arrays, with the language's state after every symbol: `states[word][position]`."""

    data: Dataset
    states: list[list[Any]]

    @property
    def inside(self) -> Tensor:
        """Which positions lie inside a word, `[words, time]`."""
        return torch.from_numpy(np.arange(self.data.tokens.shape[1]) < self.data.lengths[:, None])

    @property
    def tokens(self) -> Tensor:
        """`[words, time]`; padding reads the last symbol, and nobody looks at what comes of it."""
        return torch.from_numpy(np.minimum(self.data.tokens, self.data.tokens[self.inside.numpy()].max()))


def draw(language: Language, shortest: int, longest: int, number: int, stream: int) -> Words:
    """So many words of lengths chosen evenly among those that the language has; `UserError` if it has none."""
    lengths = language.lengths(shortest, longest)
    if not lengths:
        raise UserError(f"{language.name} has no word of {shortest} to {longest} symbols to probe with")
    generator = np.random.default_rng([SEED, stream])
    chosen = [lengths[index] for index in np.linspace(0, len(lengths) - 1, number).round().astype(int)]
    words = language.sample(chosen, generator)
    return Words(encode(language, words), [walk(language, word) for word in words])


def walk(language: Language, word: str) -> list[Any]:
    """The language's state after every symbol."""
    state, states = language.start, []
    for symbol in word:
        state = language.step(state, symbol)
        states.append(state)
    return states


@torch.no_grad()
def stream(
    model: Model, tokens: Tensor, state: list[State] | None = None, intervene: Intervene | None = None
) -> Iterator[tuple[Tensor, list[State]]]:
    """Logits `[words, classes]` and the state after each position of `tokens` `[words, time]`.

    Raises `UserError` where the logits leave the finite numbers, as those of a diverged model.
    """
    state = model.initial_state(len(tokens)) if state is None else state
    for position, token in enumerate(tokens.unbind(1)):
        before = state
        logits, state = model.step(token, before)
        if not logits.isfinite().all():
            raise UserError("this model's answers have left the finite numbers: there is nothing to ask")
        if intervene is not None:
            state = intervene(position, before, state)
        yield logits, state


def labels(streaming: Iterator[tuple[Tensor, list[State]]]) -> Tensor:
    """What the model says at every position, `[words, time]`."""
    return torch.stack([logits.argmax(-1) for logits, _ in streaming], 1)


def part_names(model: Model) -> tuple[str, ...]:
    """What the tensors of a layer's state are called."""
    mixer = next(mixer for mixer in model.mixers if isinstance(mixer, Mixer))
    return tuple(mixer.named_state(mixer.initial_state(1)))


def grows(model: Model) -> bool:
    """Whether the state grows with the word."""
    start = model.initial_state(1)
    return grew(start, model.scan(torch.zeros(1, 1, dtype=torch.long), start)[1])


def flattened(state: Sequence[Tensor]) -> Tensor:
    """One layer's state as a row a word, `[words, numbers]`."""
    return torch.cat([part.flatten(1) for part in state], 1)


def joined(states: Sequence[State]) -> Tensor:
    """The states of all layers as a row a word, `[words, numbers]`."""
    return torch.cat([flattened(layer) for layer in states], 1)


def restored(model: Model, rows: Tensor) -> list[State]:
    """The states of all layers, in their own types, that were `joined` to these rows."""
    states, taken = [], 0
    for layer in model.initial_state(1):
        sizes = [part.numel() for part in layer]
        pieces = rows[:, taken : taken + sum(sizes)].split(sizes, dim=1)
        parts = zip(pieces, layer, strict=True)
        states.append(tuple(piece.reshape(-1, *part.shape[1:]).to(part.dtype) for piece, part in parts))
        taken += sum(sizes)
    return states
