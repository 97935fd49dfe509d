"""How many states a finite automaton would need at least."""

from collections.abc import Callable, Sequence
from itertools import product


def residuals(contains: Callable[[str], bool], symbols: Sequence[str], length: int) -> int:
    """How many of the words up to `length` have pairwise different futures, as far as `length + 1` symbols show it.

    Two words have different futures when some word after both leads into the language once and once not. A
    deterministic automaton reaches different states with them, so that it needs at least so many (Myhill and Nerode).

    >>> [residuals(lambda word: len(word) % 3 == 0, "a", length) for length in range(5)]
    [1, 2, 3, 3, 3]
    """
    words = ["".join(word) for size in range(length + 2) for word in product(symbols, repeat=size)]
    prefixes = [word for word in words if len(word) <= length]
    return len({tuple(contains(prefix + word) for word in words) for prefix in prefixes})
