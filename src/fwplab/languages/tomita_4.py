"""Strings without three zeros in a row."""

from fwplab.languages._regular import Regular


class Tomita4(Regular):
    """Strings over {0, 1} without 000. The label of a position is 1 when its prefix is one, else 0.

    The fourth language of Tomita (1982).

    >>> " ".join(Tomita4().labels("001000"))
    '1 1 1 1 1 0'
    >>> Tomita4().contains("0100"), Tomita4().contains("000"), Tomita4().count(3)
    (True, False, 7)
    >>> sorted(Tomita4().next_symbols("100"))
    ['1', 'end']
    """

    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    expression = "(|0|00)(1(|0|00))*"
