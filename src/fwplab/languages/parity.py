"""Strings with an even number of ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language


class Parity(Language):
    """Strings over {0, 1} with an even number of 1s; a label is 1 while the prefix is such a string, else 0.

    Drawn uniformly: free bits, and a last one that makes the number even.

    >>> " ".join(Parity().labels("0110"))
    '1 0 1 1'
    >>> Parity().contains("0110"), Parity().contains("0111")
    (True, False)
    >>> sorted(Parity().next_symbols("01")), Parity().count(4)
    (['0', '1'], 8)
    """

    symbols = ("0", "1")
    classes = ("0", "1")
    hierarchy = "regular (not star-free)"
    start = 0  # the number of ones, modulo 2

    def step(self, state: int, symbol: str) -> int:
        return state ^ (symbol == "1")

    def label(self, state: int) -> str:
        return "01"[state == 0]

    def following(self, state: int) -> frozenset[str]:
        return frozenset(("0", "1") if state else ("0", "1", END))

    def count(self, length: int) -> int:
        return 1 << (length - 1) if length else 1

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        bits = generator.integers(0, 2, size=(number, length), dtype=np.int8)
        bits[:, -1] = np.bitwise_xor.reduce(bits[:, :-1], axis=1)
        return bits
