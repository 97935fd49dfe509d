"""Strings of ones."""

from fwplab.languages._regular import Regular


class Tomita1(Regular):
    """1^n, n >= 0. The label of a position is 1 when its prefix is one, else 0.

    The first language of Tomita (1982).

    >>> " ".join(Tomita1().labels("1101"))
    '1 1 0 0'
    >>> Tomita1().contains("111"), Tomita1().contains("101"), Tomita1().count(5)
    (True, False, 1)
    >>> sorted(Tomita1().next_symbols("1"))
    ['1', 'end']
    """

    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    expression = "1*"
