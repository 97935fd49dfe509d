"""Brackets, with a symbol that closes all open ones."""

import numpy as np

from fwplab.smfa.examples.example import Example, letters
from fwplab.smfa.machine import Change, Move, SelfModifying


class BracketsWithReset(Example):
    """Balanced strings of ( and ), with resets: the symbol 1 closes all open brackets.

    The machine is that of `dyck-1`, where every new state also gets a move by 1 to the fixed state `zero`, the depth 0.
    The outputs are the labels of the language reset_dyck_1, whose words have exactly one reset.
    """

    def machine(self) -> SelfModifying:
        grow = Change(
            fresh={"v": "1"},
            add=(Move("v", "(", "v'", "grow"), Move("v'", ")", "v"), Move("v'", "1", "zero")),
        )
        first = (Move("zero", "(", "one", "grow"), Move("zero", "1", "zero"))
        return SelfModifying(
            symbols=("(", ")", "1"),
            states={"zero": "0", "one": "1"},
            start="zero",
            moves=(*first, Move("one", ")", "zero"), Move("one", "1", "zero")),
            registers={"v": "one"},
            changes={"grow": grow},
            accepting=frozenset({"0"}),
        )

    def contains(self, word: str) -> bool:
        depth = 0
        for symbol in word:
            depth = 0 if symbol == "1" else depth + (1 if symbol == "(" else -1)
            if depth < 0:
                return False
        return depth == 0

    def draw(self, size: int, generator: np.random.Generator) -> str:
        word, depth = "", 0
        for symbol in letters("(()1", size, generator):
            closes = symbol == ")" and depth == 0
            word += "(" if closes else symbol
            depth = 0 if symbol == "1" else depth + (1 if symbol == "(" or closes else -1)
        return word + ")" * depth
