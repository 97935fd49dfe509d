"""Balanced brackets of one kind."""

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._counting import Brackets, Depths, balanced_walks


class Dyck1(Brackets):
    """Balanced strings of ( and ). The label of a position is 1 when the depth after it is above 0, else 0.

    `draw` is uniform over all words of a length.

    >>> " ".join(Dyck1().labels("(())()"))
    '1 1 1 0 1 0'
    >>> " ".join(Dyck1().labels(")("))
    '0 0'
    >>> Dyck1().contains("()()"), Dyck1().contains(")("), Dyck1().count(6)
    (True, False, 5)
    >>> sorted(Dyck1().next_symbols("(")), sorted(Dyck1().next_symbols("()"))
    (['(', ')'], ['(', 'end'])
    """

    symbols = ("(", ")")
    classes = ("0", "1")
    hierarchy = "context-free (one counter)"
    pairs = 1
    start = Depths((0,))

    def count(self, length: int) -> int:
        half, odd = divmod(length, 2)
        return 0 if odd else comb(length, half) // (half + 1)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        return (~balanced_walks(np.full(number, length), generator)).astype(np.int8)
