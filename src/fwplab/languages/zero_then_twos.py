"""A zero before a last run of twos."""

from fwplab.languages._regular import Regular


class ZeroThenTwos(Regular):
    """{0, 1, 2}* 0 2*. The label of a position is 1 when its prefix is a word, else 0.

    One of the star-free languages of Bhattamishra et al. (arXiv 2009.11264).

    >>> " ".join(ZeroThenTwos().labels("102212"))
    '0 1 1 1 0 0'
    >>> ZeroThenTwos().contains("1022"), ZeroThenTwos().contains("012"), ZeroThenTwos().count(2)
    (True, False, 4)
    >>> sorted(ZeroThenTwos().next_symbols("1")), sorted(ZeroThenTwos().next_symbols("0"))
    (['0', '1', '2'], ['0', '1', '2', 'end'])
    """

    symbols = ("0", "1", "2")
    hierarchy = "regular (star-free)"
    expression = "(0|1|2)*02*"
