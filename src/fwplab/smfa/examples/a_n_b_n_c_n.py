"""The language a^n b^n c^n."""

import numpy as np

from fwplab.smfa.examples.example import Example
from fwplab.smfa.machine import Change, Move, SelfModifying


class EqualThree(Example):
    """a^n b^n c^n, n >= 0, which no pushdown automaton recognises.

    Every a adds one state to each of two chains: one of b-moves from v to `middle`, and one of c-moves from u to `end`.
    `many` and `middle` get a new move with every a, so that n symbols a allow exactly n symbols b and then n symbols c.
    """

    def machine(self) -> SelfModifying:
        grow = Change(
            fresh={"v": "0", "u": "0"},
            remove=(("many", "b"), ("middle", "c")),
            add=(
                Move("many", "b", "v"),
                Move("v'", "b", "v"),
                Move("middle", "c", "u"),
                Move("u'", "c", "u"),
            ),
        )
        return SelfModifying(
            symbols=("a", "b", "c"),
            states={"none": "1", "many": "0", "middle": "0", "end": "1"},
            start="none",
            moves=(Move("none", "a", "many", "grow"), Move("many", "a", "many", "grow")),
            registers={"v": "middle", "u": "end"},
            changes={"grow": grow},
        )

    def contains(self, word: str) -> bool:
        third = len(word) // 3
        return word == "a" * third + "b" * third + "c" * third

    def draw(self, size: int, generator: np.random.Generator) -> str:
        return "a" * (size // 3) + "b" * (size // 3) + "c" * (size // 3)
