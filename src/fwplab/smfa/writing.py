"""Tests whether a move is a change of the model's state: the mean change is written instead of reading the symbol."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fwplab.languages import Language
from fwplab.model import Model
from fwplab.probes.words import labels, stream, unflatten_states
from fwplab.smfa.chain import Chain, Row

Vectors = NDArray[np.float64]
MAX_POSITIONS, AHEAD = 200, 8
"""The most positions at which a move is written, and the most symbols that are read after it."""


@dataclass(frozen=True, eq=False)
class Moment:
    """The model and the machine around one symbol, the last symbol of a word's prefix.

    - `beginning`: the prefix.
    - `place`, `then`: control state and depth of the machine before and after the symbol.
    - `before`, `after`: the model's state before and after the symbol, as one vector.
    - `language_state`: the language's state after the symbol.
    """

    beginning: str
    place: tuple[int, int]
    then: tuple[int, int]
    before: Vectors
    after: Vectors
    language_state: Any

    @property
    def move(self) -> tuple[Row, str]:
        """The row and the symbol of the move that the machine makes."""
        return (self.place[0], self.place[1] > 0), self.beginning[-1]


@dataclass(frozen=True)
class Written:
    """Counts of positions from which all following labels of the model equal the outputs of the machine.

    - `positions`: the number of positions that were tested.
    - `read`: how many agree when the model reads the symbol.
    - `written`: how many agree when the mean change of the move is added to the state instead.
    - `neither`: how many agree when the state is left as it was.

    The label at the symbol itself does not count, because there is none if the symbol is not read.
    """

    positions: int = 0
    read: int = 0
    written: int = 0
    neither: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(
            self.positions + other.positions,
            self.read + other.read,
            self.written + other.written,
            self.neither + other.neither,
        )

    @property
    def shares(self) -> dict[str, float]:
        """The three counts as shares of the positions."""
        return {name: getattr(self, name) / self.positions for name in ("read", "written", "neither")}


def write(
    model: Model, language: Language, chain: Chain, moments: Sequence[Moment], generator: np.random.Generator
) -> dict[tuple[Row, str], Written]:
    """Adds the mean change W' - W of a move to the model's state W, in place of reading the symbol, for every move.

    The mean is over all other moments with the same move. From the new state, the model reads up to `AHEAD` random
    symbols that the language and the machine both allow. If the move is exactly this change of the state, the labels
    are the same as after reading the symbol. Moves that occur in one moment only, or that no symbol can follow, are
    left out.

    moments: moments with different prefixes.
    """
    by_move = defaultdict(list)
    for moment in moments:
        by_move[moment.move].append(moment)
    found = {}
    for move, here in sorted(by_move.items()):
        changes = sum(moment.after - moment.before for moment in here)
        chosen = [here[index] for index in generator.permutation(len(here))[:MAX_POSITIONS]]
        continuations = [_continuation(language, chain, moment, generator) for moment in chosen]
        chosen = [moment for moment, symbols in zip(chosen, continuations, strict=True) if symbols]
        continuations = [symbols for symbols in continuations if symbols]
        if len(here) < 2 or not continuations:
            continue
        others = [(changes - (m.after - m.before)) / (len(here) - 1) for m in chosen]
        written = [m.before + change for m, change in zip(chosen, others, strict=True)]
        starts = ([m.after for m in chosen], written, [m.before for m in chosen])
        counts = [_count_agreeing(model, language, np.array(start), continuations) for start in starts]
        found[move] = Written(len(continuations), *counts)
    return found


def _continuation(
    language: Language, chain: Chain, moment: Moment, generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Random symbols that can follow this moment, each with the machine's output."""
    continuation: list[tuple[str, str]] = []
    state, place = moment.language_state, moment.then
    while len(continuation) < AHEAD:
        steps = []
        for symbol in chain.symbols:
            after, there = language.step(state, symbol), chain.step(*place, symbol)
            allowed = language.label(after) is not None and language.following(after)
            if allowed and there is not None and chain.output(there) in language.classes:
                steps.append((symbol, after, there))
        if not steps:
            break
        symbol, state, place = steps[generator.integers(len(steps))]
        continuation.append((symbol, chain.output(place)))
    return continuation


def _count_agreeing(
    model: Model, language: Language, states: Vectors, continuations: Sequence[Sequence[tuple[str, str]]]
) -> int:
    """The number of states after which the model gives all the outputs of the continuation in `continuations`."""
    tokens, outputs = np.zeros((2, len(continuations), max(map(len, continuations))), dtype=np.int64)
    outputs -= 1
    for row, continuation in enumerate(continuations):
        for column, (symbol, output) in enumerate(continuation):
            tokens[row, column], outputs[row, column] = language.symbols.index(symbol), language.classes.index(output)
    start = unflatten_states(model, torch.from_numpy(states))
    predicted = labels(stream(model, torch.from_numpy(tokens), start)).numpy()
    return int(((predicted == outputs) | (outputs < 0)).all(1).sum())
