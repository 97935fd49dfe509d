"""One d between two alphabets."""

from fwplab.languages._regular import Regular


class AbDBc(Regular):
    """{a, b}* d {b, c}*. The label of a position is 1 when its prefix is a word, else 0.

    One of the star-free languages of Bhattamishra et al. (arXiv 2009.11264).

    >>> " ".join(AbDBc().labels("abdcba"))
    '0 0 1 1 1 0'
    >>> AbDBc().contains("bdb"), AbDBc().contains("cdb"), AbDBc().count(2)
    (True, False, 4)
    >>> sorted(AbDBc().next_symbols("a")), sorted(AbDBc().next_symbols("d"))
    (['a', 'b', 'd'], ['b', 'c', 'end'])
    """

    symbols = ("a", "b", "c", "d")
    hierarchy = "regular (star-free)"
    expression = "(a|b)*d(b|c)*"
