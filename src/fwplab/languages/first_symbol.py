"""Strings that begin with a one."""

from fwplab.languages._regular import Regular


class FirstSymbol(Regular):
    """1 {0, 1}*. The label of a position is the first symbol: 1 when its prefix is a word, else 0.

    Every label repeats what was read at the first position.

    >>> " ".join(FirstSymbol().labels("1001"))
    '1 1 1 1'
    >>> " ".join(FirstSymbol().labels("011"))
    '0 0 0'
    >>> FirstSymbol().contains("10"), FirstSymbol().contains("01"), FirstSymbol().count(4)
    (True, False, 8)
    >>> sorted(FirstSymbol().next_symbols("")), sorted(FirstSymbol().next_symbols("0"))
    (['1'], [])
    """

    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    expression = "1(0|1)*"
