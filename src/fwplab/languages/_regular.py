"""The base class of the regular languages: a finite automaton, the number of its words, and uniform random words."""

import re
from collections import Counter
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._expression import Moves, automaton
from fwplab.languages.language import END, LONGEST, Language

FEW_CELLS, MOST_CELLS = 100, 20_000_000
"""Up to FEW_CELLS moves between blocks of states, words are as long as in any language. Beyond, the moves times the
length are at most MOST_CELLS."""
FEW_BLOCKS, KEPT = 8, 4_096
"""Counts of words are kept up to the length KEPT. Beyond, up to FEW_BLOCKS blocks are counted by powers of a matrix."""

NOTHING = -(2**40)
"""The power of two of the number 0."""
LOWEST = 2_000
"""Two to the minus LOWEST is 0 in float64."""


class Regular(Language):
    """A language with finitely many states, from a regular expression or a table of moves.

    A subclass gives an expression or a table of moves. If it gives both, they must describe the same language.

    - `expression`: a regular expression in the syntax of `fwplab.languages._expression.automaton`. It is also the
      second definition, which the tests compare with the states.
    - `moves`: for every state the next state for each symbol; None if no word begins like this. State 0 is the start.
    - `accepting`: the states in which a word may end.

    The label of a position is the second class if its prefix is a word, else the first. For other labels override
    `label` and `label_rule`. `draw` is uniform over all words of a length, up to the rounding of float64.
    """

    classes: ClassVar[tuple[str, ...]] = ("0", "1")
    expression: ClassVar[str]
    moves: ClassVar[Moves]
    accepting: ClassVar[frozenset[int]]
    start = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "expression" in vars(cls) and "moves" not in vars(cls):
            cls.moves, cls.accepting = automaton(cls.expression, cls.symbols)

    def step(self, state: int | None, symbol: str) -> int | None:
        return None if state is None else self.moves[state][self.symbols.index(symbol)]

    def label(self, state: int | None) -> str | None:
        return self.classes[state in self.accepting]

    def following(self, state: int | None) -> frozenset[str]:
        return frozenset() if state is None else _following(type(self))[state]

    def word_rule(self, string: str) -> bool | None:
        expression = getattr(self, "expression", None)
        return None if expression is None else re.fullmatch(expression, string) is not None

    @property
    def longest(self) -> int:  # type: ignore[override]  # a class attribute in other languages
        """The most symbols of a word: fewer for a large automaton, so that time and memory stay bounded."""
        cells = sum(map(len, _paths(type(self)).moves))
        return LONGEST if cells <= FEW_CELLS else min(LONGEST, MOST_CELLS // cells)

    def count(self, length: int) -> int:
        """The number of paths of this length from the start to an accepting state."""
        return _paths(type(self)).count(length)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Draws each symbol with the share of words that continue with it; no random numbers if there is one word."""
        only = self.count(length) == 1
        paths = _paths(type(self))
        ways, powers = paths.scaled(length)
        nowhere, states = len(self.moves), np.zeros(1 if only else number, dtype=np.int64)
        after = np.array([[nowhere if to is None else to for to in row] for row in self.moves])
        blocks = np.array([*paths.blocks, len(paths.moves)])
        tokens = np.empty((len(states), length), dtype=np.int16)
        for place in range(length):
            rest, next_blocks = length - place - 1, blocks[after[states]]
            exponents = powers[rest, next_blocks]
            sums = _scaled(ways[rest, next_blocks], exponents - exponents.max(1, keepdims=True)).cumsum(1)
            chosen = np.zeros(1) if only else generator.random(number)
            tokens[:, place] = (chosen[:, None] >= sums / sums[:, -1:]).sum(1)
            states = after[states, tokens[:, place]]
        return np.tile(tokens, (number, 1)) if only else tokens


class _Paths:
    """Counts the ways to complete a word, one length after the other.

    With w_r(s) the number of ways to complete a word from state s in exactly r more symbols,

        w_0(s) = [s accepts],   w_r(s) = sum over symbols a of w_(r-1)(s after a).

    States from which equally many symbols lead to each block of states form a block: they have the same w.

    - `blocks`: the block of each state.
    - `moves`: for each block the blocks that follow, with the number of symbols that lead there.
    """

    def __init__(self, kind: type[Regular]) -> None:
        self.blocks = [int(state in kind.accepting) for state in range(len(kind.moves))]
        while True:
            futures = [
                (own, tuple(sorted(Counter(self.blocks[to] for to in row if to is not None).items())))
                for own, row in zip(self.blocks, kind.moves, strict=True)
            ]
            names = {future: number for number, future in enumerate(dict.fromkeys(futures))}
            found = [names[future] for future in futures]
            if len(names) == len(set(self.blocks)):
                break
            self.blocks = found
        self.blocks = found
        one = {block: state for state, block in enumerate(found)}
        self.moves = [
            Counter(found[to] for to in kind.moves[one[block]] if to is not None) for block in range(len(names))
        ]
        self.ends = [int(one[block] in kind.accepting) for block in range(len(names))]
        self.ways, self.counts = list(self.ends), list[int]()  # w_r for r = len(self.counts), and all w_r(start)

    def count(self, length: int) -> int:
        """w_length(start)"""
        if length > KEPT:
            return self.far(length)
        while len(self.counts) <= length:
            self.counts.append(self.ways[self.blocks[0]])
            self.ways = self.earlier(self.ways)
        return self.counts[length]

    def far(self, length: int) -> int:
        """The same for one great length: few products of matrices if there are few blocks."""
        if len(self.moves) <= FEW_BLOCKS:
            rows = [[row[block] for block in range(len(self.moves))] for row in self.moves]
            power = np.linalg.matrix_power(np.array(rows, dtype=object), length)
            return int(power[self.blocks[0]] @ np.array(self.ends, dtype=object))
        ways = list(self.ends)
        for _ in range(length):
            ways = self.earlier(ways)
        return ways[self.blocks[0]]

    def earlier(self, ways: list[int]) -> list[int]:
        """w_(r+1) of w_r."""
        return [sum(many * ways[to] for to, many in row.items()) for row in self.moves]

    def scaled(self, length: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """w_0, w_1, ... as floats and powers of two, `[length, blocks + 1]` each; the last column is 0.

        Numbers up to 2^53 are exact. Each number has its own power, so that none is too small beside the others.
        """
        ways = np.zeros((max(length, 1), len(self.moves) + 1))
        powers = np.full(ways.shape, NOTHING, dtype=np.int64)
        ways[0, :-1], powers[0, :-1] = self.ends, np.where(self.ends, 0, NOTHING)
        width = max(1, *map(len, self.moves))  # at least one move a block, if only to the last column
        targets = np.array([[*row, *[len(self.moves)] * (width - len(row))] for row in self.moves])
        times = np.array([[*row.values(), *[0] * (width - len(row))] for row in self.moves], dtype=np.float64)
        for rest in range(1, length):
            exponents = powers[rest - 1, targets]
            highest = exponents.max(1)
            sums = (times * _scaled(ways[rest - 1, targets], exponents - highest[:, None])).sum(1)
            ways[rest, :-1], shifts = np.frexp(sums)
            powers[rest, :-1] = np.where(sums > 0, highest + shifts, NOTHING)
        return ways, powers


def _scaled(values: NDArray[np.float64], powers: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values times powers of two, none of which is above 0."""
    scaled: NDArray[np.float64] = np.ldexp(values, np.maximum(powers, -LOWEST))
    return scaled


@cache
def _paths(kind: type[Regular]) -> _Paths:
    return _Paths(kind)


@cache
def _following(kind: type[Regular]) -> list[frozenset[str]]:
    """For each state the symbols with which some word continues, and END if it is one."""
    live = set(kind.accepting)  # the states from which some word can be completed
    while more := {state for state, row in enumerate(kind.moves) if not live.isdisjoint(row)} - live:
        live |= more
    return [
        frozenset(symbol for symbol, after in zip(kind.symbols, row, strict=True) if after in live)
        | ({END} if state in kind.accepting else set())
        for state, row in enumerate(kind.moves)
    ]
