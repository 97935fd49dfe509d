"""a^n b^n c^n."""

from fwplab.languages._counting import EqualBlocks


class Counter3(EqualBlocks):
    """a^n b^n c^n, n >= 0. Labels: `a` during the a's, `b` or `c` when only that may follow, `T` at the end.

    >>> " ".join(Counter3().labels("aabbcc"))
    'a a b c c T'
    >>> Counter3().contains("abc"), Counter3().contains("aabbc")
    (True, False)
    >>> sorted(Counter3().next_symbols("aabb")), sorted(Counter3().next_symbols("ac"))
    (['c'], [])
    """

    symbols = ("a", "b", "c")
    classes = ("a", "b", "c", "T")
    hierarchy = "context-sensitive (counters)"
