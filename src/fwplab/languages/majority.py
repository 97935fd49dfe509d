"""Strings with more ones than zeros."""

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language


class Majority(Language):
    """Strings over {0, 1} with more 1s than 0s. The label of a position is 1 when its prefix is one, else 0.

    `draw` is uniform over all words of a length: a random string, with all bits inverted if it has more 0s than 1s. A
    string with equally many is drawn again.

    >>> " ".join(Majority().labels("10011"))
    '1 0 0 0 1'
    >>> Majority().contains("0111"), Majority().contains("0110"), Majority().count(4)
    (True, False, 5)
    >>> sorted(Majority().next_symbols("01")), sorted(Majority().next_symbols("1"))
    (['0', '1'], ['0', '1', 'end'])
    """

    symbols = ("0", "1")
    classes = ("0", "1")
    hierarchy = "context-free (one counter)"
    start = 0

    def step(self, state: int, symbol: str) -> int:
        return state + (1 if symbol == "1" else -1)

    def label(self, state: int) -> str:
        return self.classes[state > 0]

    def following(self, state: int) -> frozenset[str]:
        return frozenset((*self.symbols, *((END,) if state > 0 else ())))

    def counters(self, state: int) -> dict[str, int]:
        """The number of ones minus the number of zeros."""
        return {"ones - zeros": state}

    def word_rule(self, string: str) -> bool:
        return 2 * string.count("1") > len(string)

    def count(self, length: int) -> int:
        ties = 0 if length % 2 else comb(length, length // 2)
        return (int(2**length) - ties) // 2

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        bits = np.empty((number, length), dtype=np.int8)
        missing = np.arange(number)
        while len(missing):
            drawn = generator.integers(0, 2, size=(len(missing), length), dtype=np.int8)
            ones = drawn.sum(1, dtype=np.int64)
            bits[missing] = np.where((2 * ones < length)[:, None], 1 - drawn, drawn)
            missing = missing[2 * ones == length]
        return bits
