"""Is what a symbol changes in a model's state the change of the machine? It is written, and the symbol is not read."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fwplab.languages import Language
from fwplab.model import Model
from fwplab.probes.words import labels, restored, stream
from fwplab.smfa.chain import Chain, Row

Vectors = NDArray[np.float64]
MOST, AHEAD = 200, 8
"""Positions at which a move is written, and how many symbols are read after it."""


@dataclass(frozen=True, eq=False)
class Moment:
    """The last symbol of the beginning of a word: the machine's place and the model's state before and after it, and
    the language's state after it."""

    beginning: str
    place: tuple[int, int]
    then: tuple[int, int]
    before: Vectors
    after: Vectors
    language_state: Any

    @property
    def move(self) -> tuple[Row, str]:
        """The machine's move that is made here."""
        return (self.place[0], self.place[1] > 0), self.beginning[-1]


@dataclass(frozen=True)
class Written:
    """Positions at which a move was written, and at how many of them every later answer is the machine's: when the
    symbol was `read`, when the mean change of its move was `written` into the state instead, and when `neither` was
    done. The answer at the symbol itself is not among them: what is not read has none."""

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
        """Read, written and neither as shares of the positions."""
        return {name: getattr(self, name) / self.positions for name in ("read", "written", "neither")}


def write(
    model: Model, language: Language, chain: Chain, moments: Sequence[Moment], generator: np.random.Generator
) -> dict[tuple[Row, str], Written]:
    """For every move: the mean of W' - W over all other moments at which it is made, added to W.

    After it the model goes on with up to `AHEAD` random symbols that the language and the machine take after the move.
    If the move is the change of the weights and no more, the model's answers are those after reading the symbol. The
    `moments` have different beginnings; where only one makes a move, or nothing can follow, nothing is written.
    """
    by_move = defaultdict(list)
    for moment in moments:
        by_move[moment.move].append(moment)
    found = {}
    for move, here in sorted(by_move.items()):
        changes = sum(moment.after - moment.before for moment in here)
        chosen = [here[index] for index in generator.permutation(len(here))[:MOST]]
        ways = [_way(language, chain, moment, generator) for moment in chosen]
        chosen, ways = [m for m, way in zip(chosen, ways, strict=True) if way], [way for way in ways if way]
        if len(here) < 2 or not ways:
            continue
        others = [(changes - (m.after - m.before)) / (len(here) - 1) for m in chosen]
        written = [m.before + change for m, change in zip(chosen, others, strict=True)]
        starts = ([m.after for m in chosen], written, [m.before for m in chosen])
        counts = [_same(model, language, np.array(start), ways) for start in starts]
        found[move] = Written(len(ways), *counts)
    return found


def _way(language: Language, chain: Chain, moment: Moment, generator: np.random.Generator) -> list[tuple[str, str]]:
    """Symbols that can be read after this moment, each with the machine's output."""
    way: list[tuple[str, str]] = []
    state, place = moment.language_state, moment.then
    while len(way) < AHEAD:
        steps = []
        for symbol in chain.symbols:
            after, there = language.step(state, symbol), chain.step(*place, symbol)
            spoken = language.label(after) is not None and language.following(after)
            if spoken and there is not None and chain.output(there) in language.classes:
                steps.append((symbol, after, there))
        if not steps:
            break
        symbol, state, place = steps[generator.integers(len(steps))]
        way.append((symbol, chain.output(place)))
    return way


def _same(model: Model, language: Language, states: Vectors, ways: Sequence[Sequence[tuple[str, str]]]) -> int:
    """After how many of the states the model says what stands in their ways."""
    tokens, outputs = np.zeros((2, len(ways), max(map(len, ways))), dtype=np.int64)
    outputs -= 1
    for row, way in enumerate(ways):
        for column, (symbol, output) in enumerate(way):
            tokens[row, column], outputs[row, column] = language.symbols.index(symbol), language.classes.index(output)
    start = restored(model, torch.from_numpy(states))
    said = labels(stream(model, torch.from_numpy(tokens), start)).numpy()
    return int(((said == outputs) | (outputs < 0)).all(1).sum())
