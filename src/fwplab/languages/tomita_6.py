"""Equally many zeros and ones modulo three."""

from fwplab.languages._regular import Regular


class Tomita6(Regular):
    """Strings over {0, 1} whose numbers of 0s and of 1s differ by a multiple of three.

    The label of a position is 1 when its prefix is a word, else 0. The sixth language of Tomita (1982).

    >>> " ".join(Tomita6().labels("000110"))
    '0 0 1 0 0 0'
    >>> Tomita6().contains("0110"), Tomita6().contains("0"), Tomita6().count(3)
    (True, False, 2)
    >>> sorted(Tomita6().next_symbols("01"))
    ['0', '1', 'end']
    """

    symbols = ("0", "1")
    hierarchy = "regular (not star-free)"
    moves = ((1, 2), (2, 0), (0, 1))  # the number of zeros minus the number of ones, modulo three
    accepting = frozenset((0,))

    def word_rule(self, string: str) -> bool:
        return (string.count("0") - string.count("1")) % 3 == 0
