"""A string and its reverse, without a mark between them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language


class Reversal(Language):
    """w w^R with w over {a, b}: palindromes of even length.

    The label of a position is 1 when its prefix is one, else 0. A machine must guess where the middle is: the language
    is not deterministic context-free. `draw` is uniform over all words of a length.

    >>> " ".join(Reversal().labels("abba"))
    '0 0 0 1'
    >>> Reversal().contains("abba"), Reversal().contains("abab"), Reversal().count(4)
    (True, False, 4)
    >>> sorted(Reversal().next_symbols("ab")), sorted(Reversal().next_symbols("aa"))
    (['a', 'b'], ['a', 'b', 'end'])
    """

    symbols = ("a", "b")
    classes = ("0", "1")
    hierarchy = "context-free (not deterministic)"
    start = ""  # the prefix itself: no two prefixes have the same continuations
    longest = 10_000  # a state has as many symbols as its prefix

    def step(self, state: str, symbol: str) -> str:
        return state + symbol

    def label(self, state: str) -> str:
        return self.classes[_is_palindrome(state)]

    def following(self, state: str) -> frozenset[str]:
        return frozenset((*self.symbols, *((END,) if _is_palindrome(state) else ())))

    def word_rule(self, string: str) -> bool:
        half, odd = divmod(len(string), 2)
        return not odd and all(string[place] == string[-1 - place] for place in range(half))

    def count(self, length: int) -> int:
        return 0 if length % 2 else int(2 ** (length // 2))

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        half = generator.integers(0, 2, size=(number, length // 2), dtype=np.int8)
        return np.hstack([half, half[:, ::-1]])


def _is_palindrome(string: str) -> bool:
    return len(string) % 2 == 0 and string == string[::-1]
