"""The language a^n b^n."""

import numpy as np

from fwplab.smfa.examples.example import Example
from fwplab.smfa.machine import Change, Move, SelfModifying


class EqualTwo(Example):
    """a^n b^n, n >= 0.

    Every a adds one state to the front of a chain of b-moves that ends in `end`. The register v holds the first state
    of the chain. After n symbols a, the b-move of `many` leads to the state from which n - 1 b-moves reach `end`. No
    move leads back to the a's.
    """

    def machine(self) -> SelfModifying:
        grow = Change(
            fresh={"v": "0"},
            remove=(("many", "b"),),
            add=(Move("many", "b", "v"), Move("v'", "b", "v")),
        )
        return SelfModifying(
            symbols=("a", "b"),
            states={"none": "1", "many": "0", "end": "1"},
            start="none",
            moves=(Move("none", "a", "many", "grow"), Move("many", "a", "many", "grow")),
            registers={"v": "end"},
            changes={"grow": grow},
        )

    def contains(self, word: str) -> bool:
        half = len(word) // 2
        return word == "a" * half + "b" * half

    def draw(self, size: int, generator: np.random.Generator) -> str:
        return "a" * (size // 2) + "b" * (size // 2)
