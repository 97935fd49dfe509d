"""The language of marked palindromes, w c w^R."""

import numpy as np

from fwplab.smfa.examples.example import Example, letters
from fwplab.smfa.machine import Change, Move, SelfModifying


class Mirror(Example):
    """w c w^R for all words w over 0 and 1: palindromes with a marked middle, a linear language.

    Every symbol adds one state to the front of a chain that ends in `end`. The register v holds its first state, and c
    leads to it.
    """

    def machine(self) -> SelfModifying:
        put = {
            f"put{x}": Change({"v": "0"}, (Move("v'", x, "v"), Move("first", "c", "v'")), (("first", "c"),))
            for x in "01"
        }
        return SelfModifying(
            symbols=("0", "1", "c"),
            states={"first": "0", "end": "1"},
            start="first",
            moves=(*(Move("first", x, "first", f"put{x}") for x in "01"), Move("first", "c", "end")),
            registers={"v": "end"},
            changes=put,
        )

    def contains(self, word: str) -> bool:
        first, _, second = word.partition("c")
        return "c" in word and first == second[::-1]

    def draw(self, size: int, generator: np.random.Generator) -> str:
        word = letters("01", size // 2, generator)
        return f"{word}c{word[::-1]}"
