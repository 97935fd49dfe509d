"""Repetitions of abab."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language


class AbabStar(Language):
    """(abab)^n, n >= 0; a position is labelled 1 when its prefix is in (abab)*, else 0.

    >>> " ".join(AbabStar().labels("abababab"))
    '0 0 0 1 0 0 0 1'
    >>> " ".join(AbabStar().labels("bbabab"))
    '0 0 0 0 0 0'
    >>> AbabStar().contains("abab"), AbabStar().contains("ab")
    (True, False)
    >>> sorted(AbabStar().next_symbols("aba")), sorted(AbabStar().next_symbols("b"))
    (['b'], [])
    """

    symbols = ("a", "b")
    classes = ("0", "1")
    hierarchy = "regular (not star-free)"
    start = 0  # the length of the prefix, modulo 4; None once it has left the pattern

    def step(self, state: int | None, symbol: str) -> int | None:
        return (state + 1) % 4 if state is not None and symbol == "ab"[state % 2] else None

    def label(self, state: int | None) -> str:
        return "01"[state == 0]

    def following(self, state: int | None) -> frozenset[str]:
        if state is None:
            return frozenset()
        return frozenset(("a", END) if state == 0 else ("ab"[state % 2],))

    def count(self, length: int) -> int:
        return int(length % 4 == 0)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        return np.tile(np.array([0, 1], dtype=np.int8), (number, length // 2))
