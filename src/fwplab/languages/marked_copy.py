"""A string, a mark, and the string again."""

from fwplab.languages._halves import MarkedHalves


class MarkedCopy(MarkedHalves):
    """w # w with w over {a, b}.

    The label shows what may come next: - in the first half, later the only possible symbol, or T when the word is
    complete. `draw` is uniform over all words of a length.

    >>> " ".join(MarkedCopy().labels("abb#abb"))
    '- - - a b b T'
    >>> MarkedCopy().contains("ab#ab"), MarkedCopy().contains("ab#ba"), MarkedCopy().count(5)
    (True, False, 4)
    >>> sorted(MarkedCopy().next_symbols("ab")), sorted(MarkedCopy().next_symbols("ab#"))
    (['#', 'a', 'b'], ['a'])
    """

    hierarchy = "context-sensitive"
    backwards = False
