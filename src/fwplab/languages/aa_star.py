"""Strings of a's of even length."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language


class AaStar(Language):
    """a^(2n), n >= 0; a position is labelled 1 when its prefix is in (aa)*, else 0.

    >>> " ".join(AaStar().labels("aaaa"))
    '0 1 0 1'
    >>> AaStar().contains("aa"), AaStar().contains("aaa")
    (True, False)
    >>> sorted(AaStar().next_symbols("aa")), AaStar().count(4), AaStar().count(5)
    (['a', 'end'], 1, 0)
    """

    symbols = ("a",)
    classes = ("0", "1")
    hierarchy = "regular (not star-free)"
    start = 0  # the length of the prefix, modulo 2

    def step(self, state: int, symbol: str) -> int:
        return 1 - state

    def label(self, state: int) -> str:
        return "01"[state == 0]

    def following(self, state: int) -> frozenset[str]:
        return frozenset(("a",) if state else ("a", END))

    def count(self, length: int) -> int:
        return int(length % 2 == 0)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        return np.zeros((number, length), dtype=np.int8)
