"""Repetitions of abab."""

from fwplab.languages._regular import Regular


class AbabStar(Regular):
    """(abab)^n, n >= 0. The label of a position is 1 when its prefix is in (abab)*, else 0.

    >>> " ".join(AbabStar().labels("abababab"))
    '0 0 0 1 0 0 0 1'
    >>> " ".join(AbabStar().labels("bbabab"))
    '0 0 0 0 0 0'
    >>> AbabStar().contains("abab"), AbabStar().contains("ab")
    (True, False)
    >>> sorted(AbabStar().next_symbols("aba")), sorted(AbabStar().next_symbols("b"))
    (['b'], [])
    """

    symbols = ("a", "b")
    hierarchy = "regular (not star-free)"
    expression = "(abab)*"
