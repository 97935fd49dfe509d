"""a^n b^n c^n d^n."""

from fwplab.languages._counting import EqualBlocks


class Counter4(EqualBlocks):
    """a^n b^n c^n d^n, n >= 0. The label shows what may come next.

    Label `a`: a or b may follow. Labels `b`, `c` and `d`: only this symbol may follow. Label `T`: the word is complete.

    >>> " ".join(Counter4().labels("aabbccdd"))
    'a a b c c d d T'
    >>> Counter4().contains("abcd"), Counter4().contains("abdc"), Counter4().count(8)
    (True, False, 1)
    >>> sorted(Counter4().next_symbols("aabb")), sorted(Counter4().next_symbols("abcd"))
    (['c'], ['end'])
    """

    symbols = ("a", "b", "c", "d")
    classes = ("a", "b", "c", "d", "T")
    hierarchy = "context-sensitive (counters)"
