"""Strings that end as they begin."""

from fwplab.languages._regular import Regular


class EvenPairs(Regular):
    """Strings over {a, b} in which ab and ba occur together an even number of times.

    These are the empty string and those whose last symbol is the first one. The label of a position is 1 when its
    prefix is a word, else 0. Even Pairs of Deletang et al. (arXiv 2207.02098). The language is star-free, though the
    rule counts modulo two: the first and the last symbol decide.

    >>> " ".join(EvenPairs().labels("abba"))
    '1 0 0 1'
    >>> EvenPairs().contains("abba"), EvenPairs().contains("ab"), EvenPairs().count(4)
    (True, False, 8)
    >>> sorted(EvenPairs().next_symbols("ab"))
    ['a', 'b']
    """

    symbols = ("a", "b")
    hierarchy = "regular (star-free)"
    expression = "(|a|b|a(a|b)*a|b(a|b)*b)"
