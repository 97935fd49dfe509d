"""A string, a mark, and its reverse."""

from fwplab.languages._halves import MarkedHalves


class MarkedReversal(MarkedHalves):
    """w # w^R with w over {a, b}.

    The label shows what may come next: - in the first half, later the only possible symbol, or T when the word is
    complete. `draw` is uniform over all words of a length.

    >>> " ".join(MarkedReversal().labels("abb#bba"))
    '- - - b b a T'
    >>> MarkedReversal().contains("ab#ba"), MarkedReversal().contains("ab#ab"), MarkedReversal().count(5)
    (True, False, 4)
    >>> sorted(MarkedReversal().next_symbols("ab")), sorted(MarkedReversal().next_symbols("ab#"))
    (['#', 'a', 'b'], ['b'])
    """

    hierarchy = "context-free"
    backwards = True
