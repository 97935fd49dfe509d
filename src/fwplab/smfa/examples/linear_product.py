"""A product of two linear languages."""

import numpy as np

from fwplab.smfa.examples.example import Example, letters
from fwplab.smfa.machine import Change, Move, SelfModifying


class ProductOfMirrors(Example):
    """w c w^R d u c u^R for all words w, u over 0 and 1: a product of two linear languages, which is not linear itself.

    This is the machine of `w-c-w-reversed` twice, each time with a register of its own. The symbol d leads from the end
    of the first to the start of the second.
    """

    def machine(self) -> SelfModifying:
        parts = (("first", "v"), ("second", "u"))
        put = {
            f"{part}{x}": Change({v: "0"}, (Move(f"{v}'", x, v), Move(part, "c", f"{v}'")), ((part, "c"),))
            for part, v in parts
            for x in "01"
        }
        loops = tuple(Move(part, x, part, f"{part}{x}") for part, _ in parts for x in "01")
        joins = (Move("first", "c", "middle"), Move("middle", "d", "second"), Move("second", "c", "end"))
        return SelfModifying(
            symbols=("0", "1", "c", "d"),
            states={"first": "0", "middle": "0", "second": "0", "end": "1"},
            start="first",
            moves=(*loops, *joins),
            registers={"v": "middle", "u": "end"},
            changes=put,
        )

    def contains(self, word: str) -> bool:
        first, _, second = word.partition("d")
        return word.count("d") == 1 and _mirrored(first) and _mirrored(second)

    def draw(self, size: int, generator: np.random.Generator) -> str:
        cut = int(generator.integers(1, max(2, size // 2)))
        first, second = letters("01", cut, generator), letters("01", max(1, size // 2 - cut), generator)
        return f"{first}c{first[::-1]}d{second}c{second[::-1]}"


def _mirrored(word: str) -> bool:
    first, _, second = word.partition("c")
    return "c" in word and first == second[::-1]
