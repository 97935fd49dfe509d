"""Strings with an even number of ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._regular import Regular


class Parity(Regular):
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
    hierarchy = "regular (not star-free)"
    moves = ((0, 1), (1, 0))  # the number of ones, modulo 2
    accepting = frozenset((0,))

    def word_rule(self, string: str) -> bool:
        return string.count("1") % 2 == 0

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        # Not the automaton's way: the strings of finished runs were drawn so.
        bits = generator.integers(0, 2, size=(number, length), dtype=np.int8)
        bits[:, -1] = np.bitwise_xor.reduce(bits[:, :-1], axis=1)
        return bits
