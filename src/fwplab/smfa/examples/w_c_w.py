"""The language w c w."""

import numpy as np

from fwplab.smfa.examples.example import Example, letters
from fwplab.smfa.machine import Change, Move, SelfModifying


class Copy(Example):
    """w c w for all words w over 0 and 1, which no pushdown automaton recognises.

    The first w is stored as a chain of moves from `copy`, and the second is read along this chain. A symbol is stored
    when the next one is known, so that only the last symbol leads to `end`. Until then the fixed states `after0` and
    `after1` remember it. The machine is right for every w and creates |w| - 1 states. A machine that may create k
    states is right for |w| <= k + 1. The marker c is needed, because a deterministic machine cannot guess where the
    first w ends.
    """

    def machine(self) -> SelfModifying:
        writes = {f"write{x}": Change({"v": "0"}, (Move("v", x, "v'"),)) for x in "01"}
        finishes = {f"finish{x}": Change(add=(Move("v", x, "end"),)) for x in "01"}
        first = tuple(Move("first", x, f"after{x}") for x in "01")
        later = tuple(Move(f"after{x}", y, f"after{y}", f"write{x}") for x in "01" for y in "01")
        ends = tuple(Move(f"after{x}", "c", "copy", f"finish{x}") for x in "01")
        return SelfModifying(
            symbols=("0", "1", "c"),
            states={"first": "0", "after0": "0", "after1": "0", "copy": "0", "end": "1"},
            start="first",
            moves=(*first, Move("first", "c", "end"), *later, *ends),
            registers={"v": "copy"},
            changes=writes | finishes,
        )

    def contains(self, word: str) -> bool:
        first, _, second = word.partition("c")
        return "c" in word and first == second

    def draw(self, size: int, generator: np.random.Generator) -> str:
        word = letters("01", size // 2, generator)
        return f"{word}c{word}"
