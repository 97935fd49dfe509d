"""The base class of the regular languages: a finite automaton, the number of its words, and uniform random words."""

import re
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._expression import Moves, automaton
from fwplab.languages.language import END, LONGEST, Language

FEW_CELLS, MOST_CELLS = 100, 20_000_000
"""Up to FEW_CELLS pairs of a state and a symbol, words are as long as in any language. Beyond, the pairs times the
length are at most MOST_CELLS."""
FEW_STATES, KEPT = 8, 4_096
"""Counts of words are kept up to the length KEPT. Beyond, up to FEW_STATES states are counted by powers of a matrix."""


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

    classes = ("0", "1")
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
        live = _live(type(self))
        if state is None or state not in live:
            return frozenset()
        going_on = (symbol for symbol, after in zip(self.symbols, self.moves[state], strict=True) if after in live)
        return frozenset((*going_on, *((END,) if state in self.accepting else ())))

    def word_rule(self, string: str) -> bool | None:
        expression = getattr(self, "expression", None)
        return None if expression is None else re.fullmatch(expression, string) is not None

    @property
    def longest(self) -> int:  # type: ignore[override]  # a class attribute in other languages
        """The most symbols of a word: fewer for a large automaton, so that time and memory stay bounded."""
        cells = len(self.moves) * len(self.symbols)
        return LONGEST if cells <= FEW_CELLS else min(LONGEST, MOST_CELLS // cells)

    def count(self, length: int) -> int:
        """The number of paths of this length from the start to an accepting state."""
        return _paths(type(self)).count(length)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Draws each symbol with the share of words that continue with it; no random numbers if there is one word."""
        only = self.count(length) == 1
        shares = self._shares(length)
        after = np.array([[-1 if to is None else to for to in row] for row in self.moves])
        states = np.zeros(1 if only else number, dtype=np.int64)
        tokens = np.empty((len(states), length), dtype=np.int16)
        for place in range(length):
            chosen = np.zeros(1) if only else generator.random(number)
            tokens[:, place] = (chosen[:, None] >= shares[place][states]).sum(1)
            states = after[states, tokens[:, place]]
        return np.tile(tokens, (number, 1)) if only else tokens

    def _shares(self, length: int) -> NDArray[np.float64]:
        """`[length, states, symbols]`: the share of words that continue with this symbol or an earlier one.

        With w_r(s) the number of ways to complete a word from state s in exactly r more symbols,

            w_0(s) = [s accepts],   w_r(s) = sum over symbols a of w_(r-1)(s after a),

        and the share of a is w_(r-1)(s after a) / w_r(s). The w are float64, scaled by powers of two to stay finite.
        Numbers up to 2^53 are exact.
        """
        states = len(self.moves)
        after = np.array([[states if to is None else to for to in row] for row in self.moves])
        ways = np.zeros(states + 1)
        ways[list(self.accepting)] = 1.0
        shares = np.zeros((length, *after.shape))
        for place in reversed(range(length)):
            sums = ways[after].cumsum(1)
            ways[:states] = sums[:, -1]
            np.divide(sums, sums[:, -1:], out=shares[place], where=sums[:, -1:] > 0)
            ways = np.ldexp(ways, -int(np.frexp(ways.max())[1]))
        return shares


class _Paths:
    """Counts the paths through an automaton that begin in the start, one length after the other.

        p_0 = [start],   p_(r+1)(t) = sum over states s and symbols a with (s after a) = t of p_r(s),

    and the number of words of length r is the sum of p_r over the accepting states.
    """

    def __init__(self, kind: type[Regular]) -> None:
        self.kind, self.counts = kind, list[int]()
        self.paths = [int(state == 0) for state in range(len(kind.moves))]  # p_r for r = len(self.counts)

    def count(self, length: int) -> int:
        if length > KEPT:
            return self.far(length)
        while len(self.counts) <= length:
            self.counts.append(sum(self.paths[state] for state in self.kind.accepting))
            self.paths = self.after(self.paths)
        return self.counts[length]

    def far(self, length: int) -> int:
        """The number of words of one great length. For a small automaton by a power of its matrix: few products."""
        paths = [int(state == 0) for state in range(len(self.kind.moves))]
        if len(paths) <= FEW_STATES:
            matrix = np.array(
                [self.after([int(at == state) for at in range(len(paths))]) for state in range(len(paths))]
            )
            paths = np.linalg.matrix_power(matrix.astype(object), length)[0].tolist()
        else:
            for _ in range(length):
                paths = self.after(paths)
        return int(sum(paths[state] for state in self.kind.accepting))

    def after(self, paths: list[int]) -> list[int]:
        """The numbers of paths with one more symbol."""
        longer = [0] * len(paths)
        for many, row in zip(paths, self.kind.moves, strict=True):
            if many:
                for to in row:
                    if to is not None:
                        longer[to] += many
        return longer


@cache
def _paths(kind: type[Regular]) -> _Paths:
    return _Paths(kind)


@cache
def _live(kind: type[Regular]) -> frozenset[int]:
    """The states from which some word can be completed."""
    live = set(kind.accepting)
    while more := {state for state, row in enumerate(kind.moves) if not live.isdisjoint(row)} - live:
        live |= more
    return frozenset(live)
