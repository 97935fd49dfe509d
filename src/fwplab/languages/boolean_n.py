"""Boolean expressions in prefix notation."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.errors import UserError
from fwplab.languages.language import END, Language

OPERATORS = "ubtqp"
"""The operators with one, two, three, four and five arguments."""


class BooleanN(Language):
    """Expressions of the values 0 and 1 and of operators with up to n arguments, in prefix notation, n from 1 to 5.

    The operators are u, b, t, q and p, with one to five arguments (unary, binary, ternary, ...). The label of a
    position is 1 while arguments are missing, and 0 when the expression is complete. A string that begins no word has
    no labels. Boolean-3 and Boolean-5 of Bhattamishra et al. (arXiv 2009.11264), which one counter recognises.

    `draw` is uniform over all words of a length, up to the rounding of float64.

    >>> from fwplab.languages import load_language
    >>> three = load_language("boolean_3")
    >>> " ".join(three.labels("bu0t101"))
    '1 1 1 1 1 1 0'
    >>> three.contains("b01"), three.contains("b0"), three.contains("01"), three.count(3)
    (True, False, False, 6)
    >>> sorted(three.next_symbols("b0")), sorted(three.next_symbols("u1"))
    (['0', '1', 'b', 't', 'u'], ['end'])
    """

    numbers = (3, 5)
    classes = ("0", "1")
    hierarchy = "context-free (one counter)"
    start = 1  # how many expressions are still missing
    longest = 1_001

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 1 <= number <= len(OPERATORS):
            raise UserError(f"boolean_n has members for n from 1 to {len(OPERATORS)}, not {number}")
        return {"symbols": ("0", "1", *OPERATORS[:number])}

    def step(self, state: int | None, symbol: str) -> int | None:
        return state - 1 + _arguments(symbol) if state else None

    def label(self, state: int | None) -> str | None:
        return None if state is None else self.classes[state > 0]

    def following(self, state: int | None) -> frozenset[str]:
        if state is None:
            return frozenset()
        return frozenset(self.symbols if state else (END,))

    def counters(self, state: int | None) -> dict[str, int]:
        """How many arguments are missing."""
        return {} if state is None else {"missing": state}

    def word_rule(self, string: str) -> bool:
        return self.label_rule(string) == "0"

    def label_rule(self, prefix: str) -> str | None:
        """No shorter prefix may be an expression: reads each backwards, and makes one value of an operator's values."""
        complete = [end for end in range(1, len(prefix) + 1) if _values(prefix[:end]) == 1]
        if complete and complete[0] < len(prefix):
            return None
        return "0" if complete else "1"

    def count(self, length: int) -> int:
        return _count(len(self.symbols) - 2, length)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Draws sequences with one argument too few, and turns each into the one of its rotations that is a word.

        Exactly one is (Dvoretzky and Motzkin 1947), and every word comes from equally many sequences.
        """
        arguments = np.array([_arguments(symbol) for symbol in self.symbols])
        ways, missing = _ways(len(self.symbols) - 2, length), np.full(number, length - 1)
        tokens = np.empty((number, length), dtype=np.int8)
        for place in range(length):
            left = missing[:, None] - arguments
            sums = np.where(left >= 0, ways[length - place - 1][np.maximum(left, 0)], 0.0).cumsum(1)
            tokens[:, place] = (generator.random(number)[:, None] >= sums / sums[:, -1:]).sum(1)
            missing = missing - arguments[tokens[:, place]]
        heights = (arguments[tokens] - 1).cumsum(1)
        first = heights.argmin(1)  # the first lowest place ends the rotation
        turned = (first[:, None] + 1 + np.arange(length)) % length
        return np.take_along_axis(tokens, turned, axis=1)


def _arguments(symbol: str) -> int:
    return OPERATORS.find(symbol) + 1


def _values(string: str) -> int:
    """How many values are left when every operator with its arguments becomes one; 0 if one lacks arguments."""
    values = 0
    for symbol in reversed(string):
        if values < _arguments(symbol):
            return 0
        values += 1 - _arguments(symbol)
    return values


@cache
def _count(most: int, length: int) -> int:
    """The number of words: the coefficient of x^(L-1) in (2 + x + ... + x^n)^L, divided by L.

    The coefficients c_k of the power come from those before, by Euler's recurrence for p^L with the coefficients p_i:

        2 k c_k = sum over i = 1 ... n of (i L - (k - i)) p_i c_(k-i).
    """
    if length == 0:
        return 0
    power = [int(2**length)]
    for k in range(1, length):
        terms = ((i * length - (k - i)) * power[k - i] for i in range(1, min(most, k) + 1))
        power.append(sum(terms) // (2 * k))
    return power[length - 1] // length


@cache
def _ways(most: int, length: int) -> NDArray[np.float64]:
    """`[rest, arguments]`: the number of sequences of so many symbols with so many arguments, up to a factor a row."""
    ways = np.zeros((length, length))
    ways[0, 0] = 1.0
    for rest in range(1, length):
        ways[rest] = 2 * ways[rest - 1]
        for arguments in range(1, min(most, length - 1) + 1):
            ways[rest, arguments:] += ways[rest - 1, : length - arguments]
        ways[rest] = np.ldexp(ways[rest], -int(np.frexp(ways[rest].max())[1]))
    return ways
