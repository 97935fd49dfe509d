"""Balanced strings of a and b of bounded depth."""

from typing import Any

from fwplab.errors import UserError
from fwplab.languages._regular import Regular


class DN(Regular):
    """D_n = (a D_(n-1) b)*, with D_0 the empty string: a opens, b closes, and the depth is at most n.

    The label of a position is 1 when its prefix is a word, else 0. The star-free languages of Bhattamishra et al.
    (arXiv 2009.11264), which need a dot depth of n. The members are d_1 to d_100.

    >>> from fwplab.languages import load_language
    >>> two = load_language("d_2")
    >>> " ".join(two.labels("aabbab"))
    '0 0 0 1 0 1'
    >>> two.contains("aabb"), two.contains("aaabbb"), two.count(6)
    (True, False, 4)
    >>> sorted(two.next_symbols("aa")), sorted(two.next_symbols("ab"))
    (['b'], ['a', 'end'])
    """

    numbers = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    symbols = ("a", "b")
    hierarchy = "regular (star-free)"
    accepting = frozenset((0,))

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 1 <= number <= 100:
            raise UserError(f"d_n has members for n from 1 to 100, not {number}")
        deeper = [*range(1, number + 1), None]  # the state is the depth
        return {"moves": tuple((deeper[depth], depth - 1 if depth else None) for depth in range(number + 1))}

    def word_rule(self, string: str) -> bool:
        for _ in range(len(self.moves) - 1):  # takes the innermost pairs away, one level after the other
            string = string.replace("ab", "")
        return not string
