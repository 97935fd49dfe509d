"""Even numbers of zeros and of ones."""

from fwplab.languages._regular import Regular


class Tomita5(Regular):
    """Strings with an even number of 0s and an even number of 1s. The label of a position is 1 when its prefix is one.

    The fifth language of Tomita (1982).

    >>> " ".join(Tomita5().labels("0110"))
    '0 0 0 1'
    >>> Tomita5().contains("0101"), Tomita5().contains("0111"), Tomita5().count(4)
    (True, False, 8)
    >>> sorted(Tomita5().next_symbols("01"))
    ['0', '1']
    """

    symbols = ("0", "1")
    hierarchy = "regular (not star-free)"
    moves = ((1, 2), (0, 3), (3, 0), (2, 1))  # bit 0: the zeros modulo two; bit 1: the ones
    accepting = frozenset((0,))

    def word_rule(self, string: str) -> bool:
        return string.count("0") % 2 == 0 and string.count("1") % 2 == 0
