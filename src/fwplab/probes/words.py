"""What the probes share: new test words, and a model that reads them symbol by symbol."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fwplab.data.dataset import Dataset, encode
from fwplab.errors import UserError
from fwplab.languages import Language
from fwplab.mixers import Mixer, State
from fwplab.model.model import Model
from fwplab.model.trace import grew

Values = dict[tuple[int, str], float]
"""The results of a probe: a value for each name and number, which is a length, a position or a step."""
SEED = 3_000
"""The seed of the words. Neither training nor any other study draws from it."""
Intervene = Callable[[int, list[State], list[State]], list[State]]
"""Maps a position and the states before and after it to the states to continue with."""


@dataclass(frozen=True, eq=False)
class Words:
    """Words as arrays, and the language's state after every symbol, as `states[word][position]`."""

    data: Dataset
    states: list[list[Any]]

    @property
    def inside(self) -> Tensor:
        """Whether a position is inside its word, `[words, time]`."""
        return torch.from_numpy(np.arange(self.data.tokens.shape[1]) < self.data.lengths[:, None])

    @property
    def tokens(self) -> Tensor:
        """Token ids, `[words, time]`. Padding is replaced by a real symbol; results there must be ignored."""
        return torch.from_numpy(np.minimum(self.data.tokens, self.data.tokens[self.inside.numpy()].max()))


def draw(language: Language, shortest: int, longest: int, number: int, stream: int) -> Words:
    """Draws `number` words whose lengths are spread evenly over those that the language has.

    stream: part of the seed. Every use has a number of its own, and so draws other words.

    Raises `UserError` if the language has no word of `shortest` to `longest` symbols.
    """
    lengths = language.lengths(shortest, longest)
    if not lengths:
        raise UserError(f"{language.name} has no word of {shortest} to {longest} symbols to probe with")
    generator = np.random.default_rng([SEED, stream])
    chosen = [lengths[index] for index in np.linspace(0, len(lengths) - 1, number).round().astype(int)]
    words = language.sample(chosen, generator)
    return Words(encode(language, words), [language_states(language, word) for word in words])


def language_states(language: Language, word: str) -> list[Any]:
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
    """Yields the logits `[words, classes]` and the states after each position of `tokens` `[words, time]`.

    state: the states before the first position; the initial ones if None.
    intervene: replaces the states after each position.

    Raises `UserError` for logits that are not finite, as those of a diverged model.
    """
    state = model.initial_state(len(tokens)) if state is None else state
    for position, token in enumerate(tokens.unbind(1)):
        before = state
        logits, state = model.step(token, before)
        if not logits.isfinite().all():
            raise UserError("this model's logits are not finite, so that it cannot be probed")
        if intervene is not None:
            state = intervene(position, before, state)
        yield logits, state


def labels(streaming: Iterator[tuple[Tensor, list[State]]]) -> Tensor:
    """The model's label at every position, `[words, time]`."""
    return torch.stack([logits.argmax(-1) for logits, _ in streaming], 1)


def part_names(model: Model) -> tuple[str, ...]:
    """The names of the tensors in a layer's state."""
    mixer = next(mixer for mixer in model.mixers if isinstance(mixer, Mixer))
    return tuple(mixer.named_state(mixer.initial_state(1)))


def state_grows(model: Model) -> bool:
    """Whether the model's state grows with the word."""
    start = model.initial_state(1)
    return grew(start, model.scan(torch.zeros(1, 1, dtype=torch.long), start)[1])


def flatten_layer(state: Sequence[Tensor]) -> Tensor:
    """One layer's state with a row for each word, `[words, numbers]`."""
    return torch.cat([part.flatten(1) for part in state], 1)


def flatten_states(states: Sequence[State]) -> Tensor:
    """The states of all layers with a row for each word, `[words, numbers]`."""
    return torch.cat([flatten_layer(layer) for layer in states], 1)


def unflatten_states(model: Model, rows: Tensor) -> list[State]:
    """The inverse of `flatten_states`. The states get their own data types again."""
    states, taken = [], 0
    for layer in model.initial_state(1):
        sizes = [part.numel() for part in layer]
        pieces = rows[:, taken : taken + sum(sizes)].split(sizes, dim=1)
        parts = zip(pieces, layer, strict=True)
        states.append(tuple(piece.reshape(-1, *part.shape[1:]).to(part.dtype) for piece, part in parts))
        taken += sum(sizes)
    return states
