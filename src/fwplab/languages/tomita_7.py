"""Zeros, ones, zeros, ones."""

from fwplab.languages._regular import Regular


class Tomita7(Regular):
    """0*1*0*1*. The label of a position is 1 when its prefix is one, else 0.

    The seventh language of Tomita (1982).

    >>> " ".join(Tomita7().labels("01010"))
    '1 1 1 1 0'
    >>> Tomita7().contains("1001"), Tomita7().contains("1010"), Tomita7().count(4)
    (True, False, 15)
    >>> sorted(Tomita7().next_symbols("0101"))
    ['1', 'end']
    """

    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    expression = "0*1*0*1*"
