"""Strings with an even number of ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._regular import Regular


class Parity(Regular):
    """Strings over {0, 1} with an even number of 1s. The label of a position is 1 when its prefix is one, else 0.

    `draw` is uniform: random bits, then a last bit that makes the number of 1s even.

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
        # Overrides `Regular.draw`, because the strings of finished runs were drawn like this.
        bits = generator.integers(0, 2, size=(number, length), dtype=np.int8)
        bits[:, -1] = np.bitwise_xor.reduce(bits[:, :-1], axis=1)
        return bits
