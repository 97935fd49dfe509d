"""Blocks of five symbols in order."""

from fwplab.languages._regular import Regular


class FiveBlocks(Regular):
    """aa* bb* cc* dd* ee*. The label of a position is 1 when its prefix is a word, else 0.

    One of the star-free languages of Bhattamishra et al. (arXiv 2009.11264).

    >>> " ".join(FiveBlocks().labels("aabcdee"))
    '0 0 0 0 0 1 1'
    >>> FiveBlocks().contains("abcde"), FiveBlocks().contains("abde"), FiveBlocks().count(6)
    (True, False, 5)
    >>> sorted(FiveBlocks().next_symbols("ab")), sorted(FiveBlocks().next_symbols("ac"))
    (['b', 'c'], [])
    """

    symbols = ("a", "b", "c", "d", "e")
    hierarchy = "regular (star-free)"
    expression = "a+b+c+d+e+"
