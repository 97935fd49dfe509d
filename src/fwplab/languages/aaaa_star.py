"""Strings of a's whose length is a multiple of four."""

from fwplab.languages._regular import Regular


class AaaaStar(Regular):
    """a^(4n), n >= 0. The label of a position is 1 when its prefix is one, else 0.

    >>> " ".join(AaaaStar().labels("aaaaa"))
    '0 0 0 1 0'
    >>> AaaaStar().contains("aaaa"), AaaaStar().contains("aa"), AaaaStar().count(8)
    (True, False, 1)
    >>> sorted(AaaaStar().next_symbols("aaaa"))
    ['a', 'end']
    """

    symbols = ("a",)
    hierarchy = "regular (not star-free)"
    expression = "(aaaa)*"
