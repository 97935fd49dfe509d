"""What the regular languages share: a finite automaton, the number of its words, and words drawn uniformly."""

import re
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._expression import Moves, automaton
from fwplab.languages.language import END, Language


class Regular(Language):
    """A language with finitely many states, from a regular expression or a table of moves.

    A subclass gives one of the two, or both, which must then agree:
    `expression`: a regular expression, as `fwplab.languages._expression` reads it; also the rule that tests compare
    with the states.
    `moves`, `accepting`: for every state the next state for each symbol, None where no word begins so; and the states
    in which a word may end. State 0 is the start.

    A label is the second class while the prefix is a word, else the first; override `label` and `label_rule` for
    others. Words are drawn uniformly over all of their length, to the rounding of float64.
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

    def count(self, length: int) -> int:
        """The number of paths of this length from the start to an accepting state: an entry of a matrix power."""
        paths = np.linalg.matrix_power(_paths(self).astype(object), length)[0]
        return sum(int(paths[state]) for state in self.accepting)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Each symbol with the share of the words that go on with it; no random number where there is one word."""
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
        """`[length, states, symbols]`: the share of the words that go on with this symbol or one before it.

        With w_r(s) the number of ways from state s to a whole word in r more symbols,

            w_0(s) = [s accepts],   w_r(s) = sum over symbols a of w_(r-1)(s after a),

        and the share of a is w_(r-1)(s after a) / w_r(s). The w are floats, multiplied by powers of two so that they
        stay finite: exact up to 2^53.
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


def _paths(language: Regular) -> NDArray[np.int64]:
    """`[state, state]`: how many symbols lead from one to the other."""
    paths = np.zeros((len(language.moves),) * 2, dtype=np.int64)
    for state, row in enumerate(language.moves):
        for to in row:
            if to is not None:
                paths[state, to] += 1
    return paths


@cache
def _live(kind: type[Regular]) -> frozenset[int]:
    """The states from which some word is reached."""
    live = set(kind.accepting)
    while more := {state for state, row in enumerate(kind.moves) if not live.isdisjoint(row)} - live:
        live |= more
    return frozenset(live)
