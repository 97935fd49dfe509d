"""Balanced brackets after one reset."""

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.languages._counting import Brackets, Depths, balanced_walks, unpaired, walks_above_zero
from fwplab.languages.language import END


class ResetDyck1(Brackets):
    """A prefix of a balanced string, one reset `1`, a balanced string.

    The label of a position is 1 when the depth since the last reset is above 0, else 0 (0 at the reset).

    `draw` is not uniform over all words, most of which have their reset near the end. The position of the reset is
    uniform over those that leave an even number of symbols after it. Given the position, the prefix and the balanced
    string are each uniform over all strings of their length.

    >>> " ".join(ResetDyck1().labels("((1()"))
    '1 1 0 1 0'
    >>> ResetDyck1().contains("((1()"), ResetDyck1().contains("()"), ResetDyck1().contains("(1(")
    (True, False, False)
    >>> sorted(ResetDyck1().next_symbols("(")), sorted(ResetDyck1().next_symbols("(1"))
    (['(', ')', '1'], ['(', 'end'])
    """

    symbols = ("(", ")", "1")
    classes = ("0", "1")
    hierarchy = "context-free (one counter)"
    pairs = 1
    start = Depths((0,))

    def step(self, state: Depths, symbol: str) -> Depths:
        if symbol == "1":
            return Depths((0,), alive=state.alive and state.resets == 0, resets=state.resets + 1)
        return super().step(state, symbol)

    def following(self, state: Depths) -> frozenset[str]:
        choices = super().following(state)
        if not state.alive or state.resets:
            return choices
        return choices - {END} | {"1"}

    def word_rule(self, string: str) -> bool:
        head, *tails = string.split("1")
        return len(tails) == 1 and ")" not in unpaired(head, ("(", ")")) and super().word_rule(tails[0])

    def label_rule(self, prefix: str) -> str | None:
        return super().label_rule(prefix.rsplit("1", maxsplit=1)[-1])

    def draw_weight(self, word: str) -> float:
        """One over the number of words with the reset at the same position."""
        head = word.index("1")
        half = (len(word) - head) // 2  # the number of bracket pairs after the reset
        return (half + 1) / (comb(head, head // 2) * comb(2 * half, half))

    def count(self, length: int) -> int:
        # Replace the reset by an opening bracket. It is the last bracket that is never closed. The words are
        # therefore in bijection with the walks that never fall below zero and do not end at zero.
        half, odd = divmod(length, 2)
        return comb(length, half) - (0 if odd else comb(length, half) // (half + 1))

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        tails = 2 * generator.integers(0, (length - 1) // 2 + 1, size=number)
        heads = length - 1 - tails
        places = np.arange(length)
        tokens = np.full((number, length), 2, dtype=np.int8)
        for walks, sizes, part in (
            (walks_above_zero(heads, generator), heads, places < heads[:, None]),
            (balanced_walks(tails, generator), tails, places > heads[:, None]),
        ):
            tokens[part] = ~walks[places[: walks.shape[1]] < sizes[:, None]]
        return tokens
