"""Balanced brackets."""

import numpy as np

from fwplab.languages import load_language
from fwplab.smfa.examples.example import Example
from fwplab.smfa.machine import Change, Move, SelfModifying


class BalancedBrackets(Example):
    """Balanced strings of ( and ), with one state for each depth.

    The register v holds the deepest state. Every opening bracket adds one deeper state, wherever it is read, so that
    the next depth always exists. The added move by ( carries the same change again. This is how a fixed number of
    changes builds a chain of any length. The output is 0 at depth 0 and 1 elsewhere, as in the language dyck_1.
    """

    def machine(self) -> SelfModifying:
        grow = Change(fresh={"v": "1"}, add=(Move("v", "(", "v'", "grow"), Move("v'", ")", "v")))
        return SelfModifying(
            symbols=("(", ")"),
            states={"zero": "0", "one": "1"},
            start="zero",
            moves=(Move("zero", "(", "one", "grow"), Move("one", ")", "zero")),
            registers={"v": "one"},
            changes={"grow": grow},
            accepting=frozenset({"0"}),
        )

    def contains(self, word: str) -> bool:
        return load_language("dyck_1").contains(word)

    def draw(self, size: int, generator: np.random.Generator) -> str:
        return load_language("dyck_1").sample([size // 2 * 2], generator)[0]
