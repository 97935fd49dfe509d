"""a^n b^n c^n."""

from fwplab.languages._counting import EqualBlocks


class Counter3(EqualBlocks):
    """a^n b^n c^n, n >= 0. Label `a`: a or b may follow. Labels `b`, `c`: only that may follow. `T`: complete.

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
