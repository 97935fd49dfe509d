"""Several kinds of brackets, each balanced, interleaved freely."""

from functools import cache
from itertools import product
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.errors import UserError
from fwplab.languages._counting import Brackets, Depths, balanced_walks

KINDS = ("()", "[]", "{}", "<>", "\u00ab\u00bb", "\u2039\u203a")


class ShuffleN(Brackets):
    """Interleavings of balanced strings of n kinds of brackets, for n from 3 to 6. A label has a bit for each kind.

    The bit is 1 if the depth of the kind is above 0. Shuffle-4 and Shuffle-6 of Bhattamishra et al. (arXiv 2009.11264).

    `draw` is uniform over all words of a length, up to the rounding of the weights in float64.

    >>> from fwplab.languages import load_language
    >>> four = load_language("shuffle_4")
    >>> " ".join(four.labels("({<)}>"))
    '1000 1010 1011 0011 0001 0000'
    >>> four.contains("({<)}>"), four.contains("({<)}"), four.count(2), four.count(4)
    (True, False, 4, 44)
    >>> sorted(four.next_symbols("{"))
    ['(', '<', '[', '{', '}']
    """

    numbers = (4, 6)
    hierarchy = "context-sensitive (counters)"

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 3 <= number <= len(KINDS):
            raise UserError(f"shuffle_n has members for n from 3 to {len(KINDS)}, and shuffle_2, not {number}")
        return {
            "symbols": tuple("".join(KINDS[:number])),
            "classes": tuple(map("".join, product("01", repeat=number))),
            "pairs": number,
            "start": Depths((0,) * number),
            "longest": 2_002 if number <= 4 else 1_002,  # beyond, the words are counted for minutes
        }

    def count(self, length: int) -> int:
        return 0 if length % 2 else _count(self.pairs, length // 2)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        sizes = np.zeros((number, self.pairs), dtype=np.int64)  # how many brackets each word has of each kind
        self._divide(range(self.pairs), np.full(number, length // 2), sizes, generator)
        order = np.argsort(generator.random((number, length)), axis=1)
        kinds = np.empty((number, length), dtype=np.int64)
        ends = sizes.cumsum(1)
        np.put_along_axis(kinds, order, (np.arange(length) >= ends[:, :, None]).sum(1), axis=1)
        tokens = np.empty((number, length), dtype=np.int8)
        for kind in range(self.pairs):
            closing = ~balanced_walks(sizes[:, kind], generator)
            here = np.arange(closing.shape[1]) < sizes[:, kind, None]
            tokens[kinds == kind] = 2 * kind + closing[here]
        return tokens

    def _divide(self, kinds: range, halves: NDArray[np.int64], sizes: Any, generator: np.random.Generator) -> None:
        """Divides the brackets of each word among the kinds, with the shares of the words that have so many."""
        if len(kinds) == 1:
            sizes[:, kinds[0]] = 2 * halves
            return
        first, rest = kinds[: _first(len(kinds))], kinds[_first(len(kinds)) :]
        taken = np.empty_like(halves)
        for half in np.unique(halves).tolist():
            here = np.flatnonzero(halves == half)
            taken[here] = generator.choice(half + 1, size=len(here), p=_shares(len(kinds), half))
        self._divide(first, taken, sizes, generator)
        self._divide(rest, halves - taken, sizes, generator)


def _first(kinds: int) -> int:
    """The number of kinds that are split off first: two, whose words have a closed form."""
    return 2 if kinds > 2 else 1


@cache
def _count(kinds: int, half: int) -> int:
    """The number of words of n kinds and m pairs: the sum over k of comb(2m, 2k) words of k pairs of the first kinds.

    For one kind it is the Catalan number C_m, for two C_m C_(m+1).
    """
    if kinds == 1:
        return comb(2 * half, half) // (half + 1)
    if kinds == 2:
        return _count(1, half) * _count(1, half + 1)
    return sum(_terms(kinds, half))


def _terms(kinds: int, half: int) -> list[int]:
    first, choices, terms = _first(kinds), 1, []
    for taken in range(half + 1):
        terms.append(choices * _count(first, taken) * _count(kinds - first, half - taken))
        odd, even = 2 * taken + 1, 2 * taken + 2
        choices = choices * (2 * half - odd + 1) * (2 * half - even + 1) // (odd * even)
    return terms


@cache
def _shares(kinds: int, half: int) -> NDArray[np.float64]:
    """For k = 0 ... m the probability that the first kinds have k of the m pairs."""
    total = _count(kinds, half)
    shares: NDArray[np.float64] = np.array([term / total for term in _terms(kinds, half)])
    shares /= shares.sum()
    return shares
