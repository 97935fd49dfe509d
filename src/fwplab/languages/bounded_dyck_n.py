"""Balanced brackets of several kinds and of bounded depth."""

from functools import cache
from typing import Any, ClassVar

from fwplab.errors import UserError
from fwplab.languages._counting import KINDS, unpaired
from fwplab.languages._expression import Moves
from fwplab.languages._regular import Regular

MOST_STATES = 2_000


class BoundedDyckN(Regular):
    """Dyck-(k, n): balanced strings of k kinds of brackets whose depth is at most n.

    The label of a position is the closing bracket of the innermost open one, or - if none is open. This is the
    language of Hewitt et al. (arXiv 2010.07515) and Yao et al. (arXiv 2105.11115). The option `kinds` is k, from 1 to
    4; the default is 2.

    >>> from fwplab.languages import load_language
    >>> three = load_language("bounded_dyck_3")
    >>> " ".join(three.labels("([]())"))
    ') ] ) ) ) -'
    >>> three.contains("[()]"), three.contains("[(])"), three.contains("(((())))"), three.count(4)
    (True, False, False, 8)
    >>> sorted(three.next_symbols("([")), sorted(three.next_symbols("([(")), sorted(three.next_symbols("[]"))
    (['(', '[', ']'], [')'], ['(', '[', 'end'])
    >>> load_language("bounded_dyck_2:kinds=3").symbols
    ('(', ')', '[', ']', '{', '}')
    """

    numbers = (3, 5)
    hierarchy = "regular (star-free)"
    options: ClassVar = {"kinds": ("2", "1", "3", "4")}
    accepting = frozenset((0,))

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        kinds = int(options["kinds"])
        if number is None or number < 1 or sum(kinds**depth for depth in range(min(number, 2_000) + 1)) > MOST_STATES:
            raise UserError(
                f"bounded_dyck_n with {kinds} kinds has members for n from 1 on with up to {MOST_STATES:,} states, not "
                f"{number}"
            )
        stacks, moves = _machine(kinds, number)
        tops = ["-"] + [KINDS[int(stack[-1])][1] for stack in stacks[1:]]
        symbols = tuple("".join(KINDS[:kinds]))
        return {"symbols": symbols, "classes": ("-", *symbols[1::2]), "moves": moves, "tops": tops, "depth": number}

    tops: tuple[str, ...]
    depth: int

    def label(self, state: int | None) -> str | None:
        return None if state is None else self.tops[state]

    def word_rule(self, string: str) -> bool:
        return self.label_rule(string) == "-"

    def label_rule(self, prefix: str) -> str | None:
        """Takes the innermost pairs away: only opening brackets may be left, and no prefix may be too high."""
        left = unpaired(prefix, *KINDS)
        deepest = max(map(_height, (prefix[:end] for end in range(len(prefix) + 1))))
        if any(symbol in left for symbol in ")]}>") or deepest > self.depth:
            return None
        return KINDS["([{<".index(left[-1])][1] if left else "-"


def _height(prefix: str) -> int:
    return sum(prefix.count(kind[0]) - prefix.count(kind[1]) for kind in KINDS)


@cache
def _machine(kinds: int, depth: int) -> tuple[list[str], Moves]:
    """The stacks of open brackets, the empty one first, and the moves between them."""
    stacks, place, rows = [""], {"": 0}, []
    for stack in stacks:
        row: list[int | None] = []
        for kind in map(str, range(kinds)):
            longer = stack + kind
            if len(longer) <= depth and longer not in place:
                place[longer] = len(stacks)
                stacks.append(longer)
            row += [place.get(longer), place[stack[:-1]] if stack.endswith(kind) else None]
        rows.append(tuple(row))
    return stacks, tuple(rows)
