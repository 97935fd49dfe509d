"""Repetitions of 10."""

from fwplab.languages._regular import Regular


class Tomita2(Regular):
    """(10)^n, n >= 0. The label of a position is 1 when its prefix is one, else 0.

    The second language of Tomita (1982).

    >>> " ".join(Tomita2().labels("101011"))
    '0 1 0 1 0 0'
    >>> Tomita2().contains("1010"), Tomita2().contains("101"), Tomita2().count(4)
    (True, False, 1)
    >>> sorted(Tomita2().next_symbols("1")), sorted(Tomita2().next_symbols("0"))
    (['0'], [])
    """

    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    expression = "(10)*"
