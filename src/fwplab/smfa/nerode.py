"""A lower bound on the number of states of a finite automaton for a language."""

from collections.abc import Callable, Sequence
from itertools import product


def residuals(contains: Callable[[str], bool], symbols: Sequence[str], length: int) -> int:
    """The number of words of at most `length` symbols that are pairwise inequivalent, by the Myhill-Nerode relation.

    Two words are inequivalent if some continuation leads from exactly one of them into the language. Continuations are
    tested up to a total of `length + 1` symbols. A deterministic automaton needs a different state for each such word,
    so that the result is a lower bound on its number of states.

    >>> [residuals(lambda word: len(word) % 3 == 0, "a", length) for length in range(5)]
    [1, 2, 3, 3, 3]
    """
    words = ["".join(word) for size in range(length + 2) for word in product(symbols, repeat=size)]
    prefixes = [word for word in words if len(word) <= length]
    return len({tuple(contains(prefix + word) for word in words) for prefix in prefixes})
