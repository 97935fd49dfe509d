"""Repetitions of ab."""

from fwplab.languages._regular import Regular


class AbStar(Regular):
    """(ab)^n, n >= 0. The label of a position is 1 when its prefix is one, else 0.

    >>> " ".join(AbStar().labels("ababb"))
    '0 1 0 1 0'
    >>> AbStar().contains("abab"), AbStar().contains("aba"), AbStar().count(6)
    (True, False, 1)
    >>> sorted(AbStar().next_symbols("ab"))
    ['a', 'end']
    """

    symbols = ("a", "b")
    hierarchy = "regular (star-free)"
    expression = "(ab)*"
