"""No odd run of zeros after an odd run of ones."""

import re

from fwplab.languages._regular import Regular


class Tomita3(Regular):
    """Strings over {0, 1} in which no run of ones of odd length is followed by a run of zeros of odd length.

    A run is as long as possible: a run of zeros ends before a one or with the string. The label of a position is 1 when
    its prefix is a word, else 0. The third language of Tomita (1982).

    >>> " ".join(Tomita3().labels("100110"))
    '1 0 1 1 1 1'
    >>> Tomita3().contains("100"), Tomita3().contains("10"), Tomita3().count(3)
    (True, False, 6)
    >>> sorted(Tomita3().next_symbols("10")), sorted(Tomita3().next_symbols("101"))
    (['0'], [])
    """

    symbols = ("0", "1")
    hierarchy = "regular (not star-free)"
    # An even run of ones, or zeros after it; an odd run of ones; an odd and an even run of zeros after it.
    moves = ((0, 1), (2, 0), (3, None), (2, 1))
    accepting = frozenset((0, 1, 3))

    def word_rule(self, string: str) -> bool:
        return re.search("(?<!1)1(11)*0(00)*(?!0)", string) is None
