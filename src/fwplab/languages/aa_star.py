"""Strings of a's of even length."""

from fwplab.languages._regular import Regular


class AaStar(Regular):
    """a^(2n), n >= 0. The label of a position is 1 when its prefix is in (aa)*, else 0.

    >>> " ".join(AaStar().labels("aaaa"))
    '0 1 0 1'
    >>> AaStar().contains("aa"), AaStar().contains("aaa")
    (True, False)
    >>> sorted(AaStar().next_symbols("aa")), AaStar().count(4), AaStar().count(5)
    (['a', 'end'], 1, 0)
    """

    symbols = ("a",)
    hierarchy = "regular (not star-free)"
    expression = "(aa)*"
