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


@dataclass(frozen=True)
class Moment:
    """One symbol of a word: the machine's place and the model's state, before and after it; the language's after it."""

    place: tuple[int, int]
    symbol: str
    then: tuple[int, int]
    spoken: Any
    before: Vectors
    after: Vectors

    @property
    def move(self) -> tuple[Row, str]:
        """The machine's move that is made here."""
        return (self.place[0], self.place[1] > 0), self.symbol


@dataclass(frozen=True)
class Written:
    """Positions at which a move was written, and at how many of them every later answer is the machine's: when the
    symbol was `read`, when its mean change was `written` into the state instead, and when `neither` was done."""

    positions: int
    read: int
    written: int
    neither: int


def write(
    model: Model, language: Language, chain: Chain, known: Sequence[Moment], asked: Sequence[Moment], seed: int
) -> dict[tuple[Row, str], Written]:
    """For every move: the mean of W' - W over the moments that are `known`, added to W at those `asked`.

    After it the model goes on with up to `AHEAD` random symbols that the language and the machine take after the move.
    If the move is the change of the weights and no more, its answers are those after reading the symbol.
    """
    generator = np.random.default_rng(seed)
    changes, places = defaultdict(list), defaultdict(list)
    for moment in known:
        changes[moment.move].append(moment.after - moment.before)
    for moment in asked:
        places[moment.move].append(moment)
    found = {}
    for move in sorted(changes.keys() & places.keys()):
        here = [places[move][index] for index in generator.permutation(len(places[move]))[:MOST]]
        change = np.mean(changes[move], axis=0)
        ways = [_way(language, chain, moment, generator) for moment in here]
        starts = [[m.after for m in here], [m.before + change for m in here], [m.before for m in here]]
        counts = [_same(model, language, np.array(start), ways) for start in starts]
        found[move] = Written(len(here), *counts)
    return found


def _way(language: Language, chain: Chain, moment: Moment, generator: np.random.Generator) -> list[tuple[str, str]]:
    """Symbols that can be read after this moment, each with the machine's output."""
    way: list[tuple[str, str]] = []
    spoken, place = moment.spoken, moment.then
    while len(way) < AHEAD:
        steps = []
        for symbol in chain.symbols:
            after, there = language.step(spoken, symbol), chain.step(*place, symbol)
            if there and language.label(after) is not None and language.following(after):
                steps.append((symbol, after, there))
        if not steps:
            break
        symbol, spoken, place = steps[generator.integers(len(steps))]
        way.append((symbol, chain.output(place)))
    return way


def _same(model: Model, language: Language, states: Vectors, ways: Sequence[Sequence[tuple[str, str]]]) -> int:
    """After how many of the states the model says what stands in their ways."""
    longest = max(1, *map(len, ways))
    tokens, outputs = np.zeros((2, len(ways), longest), dtype=np.int64)
    outputs -= 1
    for row, way in enumerate(ways):
        for column, (symbol, output) in enumerate(way):
            tokens[row, column], outputs[row, column] = language.symbols.index(symbol), language.classes.index(output)
    start = restored(model, torch.from_numpy(states))
    said = labels(stream(model, torch.from_numpy(tokens), start)).numpy()
    return int(((said == outputs) | (outputs < 0)).all(1).sum())
