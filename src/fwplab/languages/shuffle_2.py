"""Two kinds of brackets, each balanced, interleaved freely."""

from math import comb, lgamma
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._counting import Brackets, Depths, arrangements, balanced_walks


class Shuffle2(Brackets):
    """Interleavings of a balanced string of ( ) and one of [ ]. A label has a bit per pair: 1 if its depth is above 0.

    `draw` is uniform over all words of a length, up to the rounding of the weights in float64 (about 1e-11).

    >>> " ".join(Shuffle2().labels("([)]"))
    '10 11 01 00'
    >>> Shuffle2().contains("([)]"), Shuffle2().contains("([)"), Shuffle2().count(4)
    (True, False, 10)
    >>> sorted(Shuffle2().next_symbols("["))
    ['(', '[', ']']
    """

    symbols = ("(", ")", "[", "]")
    classes = ("00", "01", "10", "11")
    hierarchy = "context-sensitive (two counters)"
    pairs = 2
    start = Depths((0, 0))

    def count(self, length: int) -> int:
        # With the Catalan numbers C_k, the sum of comb(2n, 2k) C_k C_(n-k) over k is C_n C_(n+1).
        half, odd = divmod(length, 2)
        return 0 if odd else comb(length, half) * comb(length + 2, half + 1) // ((half + 1) * (half + 2))

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        rounds = 2 * generator.choice(length // 2 + 1, size=number, p=_shares(length // 2))
        places = np.arange(length)
        is_round = arrangements(rounds, np.full(number, length), generator)
        tokens = np.empty((number, length), dtype=np.int8)
        for first, mine, sizes in ((0, is_round, rounds), (2, ~is_round, length - rounds)):
            closing = ~balanced_walks(sizes, generator)
            tokens[mine] = first + closing[places[: closing.shape[1]] < sizes[:, None]]
        return tokens


def _shares(half: int) -> NDArray[np.float64]:
    """For k = 0 ... n, n = `half`, the probability that a uniform word of n pairs has k round pairs.

    It is comb(2n, 2k) C_k C_(n-k) / (C_n C_(n+1)), with the Catalan numbers C_k.
    """
    # Up to a factor common to all k this is 1 / (k! (k+1)! (n-k)! (n-k+1)!). Logarithms avoid overflow for long words.
    logs = np.array([-lgamma(k + 1) - lgamma(k + 2) for k in range(half + 1)])
    weights = logs + logs[::-1]
    shares: NDArray[np.float64] = np.exp(weights - weights.max())
    shares /= shares.sum()
    return shares
