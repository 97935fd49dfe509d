"""a^n b^n."""

from fwplab.languages._counting import EqualBlocks


class Counter2(EqualBlocks):
    """a^n b^n, n >= 0. Label `a`: a or b may follow. Label `b`: only b may follow. Label `T`: the word is complete.

    >>> " ".join(Counter2().labels("aaabbb"))
    'a a a b b T'
    >>> Counter2().contains("ab"), Counter2().contains("abab"), Counter2().contains("")
    (True, False, True)
    >>> sorted(Counter2().next_symbols("aa")), sorted(Counter2().next_symbols("ab"))
    (['a', 'b'], ['end'])
    """

    symbols = ("a", "b")
    classes = ("a", "b", "T")
    hierarchy = "context-free (one counter)"
