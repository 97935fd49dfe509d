"""A walk on a cycle that comes back to its start."""

from typing import Any

from fwplab.errors import UserError
from fwplab.languages._regular import Regular


class CycleNavigationN(Regular):
    """Steps forward (+), backward (-) and none (0) on a cycle of n places that end where they began.

    The label of a position is the place that is reached: 0, 1, ... Cycle Navigation of Deletang et al. (arXiv
    2207.02098) has n = 5 and asks for the last place alone. The members are those with n from 2 to 10.

    >>> from fwplab.languages import load_language
    >>> five = load_language("cycle_navigation_5")
    >>> " ".join(five.labels("++0-----"))
    '1 2 2 1 0 4 3 2'
    >>> five.contains("+++++"), five.contains("++-"), five.count(2)
    (True, False, 3)
    >>> sorted(five.next_symbols("+"))
    ['+', '-', '0']
    """

    numbers = (5,)
    symbols = ("0", "+", "-")
    hierarchy = "regular (not star-free)"
    accepting = frozenset((0,))

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 2 <= number <= 10:
            raise UserError(f"cycle_navigation_n has members for n from 2 to 10, not {number}")
        moves = tuple((place, (place + 1) % number, (place - 1) % number) for place in range(number))
        return {"classes": tuple(map(str, range(number))), "moves": moves}

    def label(self, state: int | None) -> str | None:
        return None if state is None else self.classes[state]

    def word_rule(self, string: str) -> bool:
        return self.label_rule(string) == "0"

    def label_rule(self, prefix: str) -> str | None:
        return str((prefix.count("+") - prefix.count("-")) % len(self.classes))
