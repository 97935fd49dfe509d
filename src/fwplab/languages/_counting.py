"""Base classes of the counting languages (equal blocks, brackets), and uniform random walks above zero."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language

Integers = NDArray[np.integer[Any]]
KINDS = ("()", "[]", "{}", "<>")
"""The kinds of brackets that a language may have."""
Walks = NDArray[np.bool_]  # one walk per row, True for a step up; entries after the end of a shorter walk are arbitrary


class Block(NamedTuple):
    """The state after a prefix of a^n b^n c^n ..."""

    place: int  # the index of the block in which the prefix ends
    size: int  # the number of symbols in the first block
    seen: int  # the number of symbols read in the current block


class EqualBlocks(Language):
    """a^n b^n (c^n ...), n >= 0: equally many of each symbol, in the order of the alphabet.

    The label shows what may come next. In the first block it is the class of the first symbol: another a or a b may
    follow. Later it is the only possible symbol, or T when the word is complete. A string that is no prefix of a word
    has no labels.
    """

    start = Block(0, 0, 0)

    def step(self, state: Block | None, symbol: str) -> Block | None:
        if state is None or symbol not in self.following(state):
            return None
        place = self.symbols.index(symbol)
        return Block(place, state.size + (place == 0), state.seen + 1 if place == state.place else 1)

    def label(self, state: Block | None) -> str | None:
        if state is None:
            return None
        finished = state.place > 0 and state.seen == state.size
        return self.classes[state.place + finished]

    def following(self, state: Block | None) -> frozenset[str]:
        if state is None:
            return frozenset()
        if state.size == 0:
            return frozenset((self.symbols[0], END))
        after = self.symbols[state.place + 1] if state.place + 1 < len(self.symbols) else END
        if state.place == 0:
            return frozenset((self.symbols[0], after))
        return frozenset((self.symbols[state.place] if state.seen < state.size else after,))

    def counters(self, state: Block | None) -> dict[str, int]:
        """How many symbols the current block still lacks. In the first block: how many the next block must have."""
        if state is None:
            return {}
        return {"owed": state.size if state.place == 0 else state.size - state.seen}

    def word_rule(self, string: str) -> bool:
        return string == "".join(symbol * (len(string) // len(self.symbols)) for symbol in self.symbols)

    def label_rule(self, prefix: str) -> str | None:
        """The first symbol that occurs less often than a, or T if there is none; a while only a's have been read."""
        sizes = [prefix.count(symbol) for symbol in self.symbols]
        shortest_word = "".join(symbol * sizes[0] for symbol in self.symbols)
        if not shortest_word.startswith(prefix):
            return None
        return self.classes[0 if sizes[1] == 0 else sum(size == sizes[0] for size in sizes)]

    def count(self, length: int) -> int:
        return int(length % len(self.symbols) == 0)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        kinds = len(self.symbols)
        word = np.repeat(np.arange(kinds, dtype=np.int8), length // kinds)
        return np.tile(word, (number, 1))


class Depths(NamedTuple):
    """The state after a string of brackets."""

    open: tuple[int, ...]  # the depth of each pair; negative after an unmatched closing bracket
    alive: bool = True  # whether the string is a prefix of some word
    resets: int = 0


class Brackets(Language):
    """Strings of brackets of one or more pairs, each pair balanced on its own.

    `symbols` lists the opening and the closing bracket of each pair in turn, then other symbols. `pairs` is the number
    of pairs. The label has one bit per pair: 1 when its depth is above zero. It is defined for every string.
    """

    pairs: ClassVar[int]

    def step(self, state: Depths, symbol: str) -> Depths:
        pair, closing = divmod(self.symbols.index(symbol), 2)
        depth = state.open[pair] + (-1 if closing else 1)
        after = (*state.open[:pair], depth, *state.open[pair + 1 :])
        return Depths(after, state.alive and depth >= 0, state.resets)

    def label(self, state: Depths) -> str:
        return "".join("01"[depth > 0] for depth in state.open)

    def counters(self, state: Depths) -> dict[str, int]:
        """The depth of each pair."""
        return {f"depth {''.join(self.symbols[2 * n : 2 * n + 2])}": depth for n, depth in enumerate(state.open)}

    def following(self, state: Depths) -> frozenset[str]:
        if not state.alive:
            return frozenset()
        opening = self.symbols[: 2 * self.pairs : 2]
        closing = (self.symbols[2 * pair + 1] for pair in range(self.pairs) if state.open[pair] > 0)
        return frozenset((*opening, *closing, *(() if any(state.open) else (END,))))

    def word_rule(self, string: str) -> bool:
        """Whether no bracket is left after matching pairs have been removed, for each kind."""
        return not any(unpaired(string, kind) for kind in self.kinds())

    def label_rule(self, prefix: str) -> str | None:
        """One bit per kind: 1 when more brackets have been opened than closed."""
        return "".join("01"[prefix.count(opening) > prefix.count(closing)] for opening, closing in self.kinds())

    def kinds(self) -> list[tuple[str, str]]:
        """The opening and the closing bracket of each pair."""
        return [(self.symbols[2 * pair], self.symbols[2 * pair + 1]) for pair in range(self.pairs)]


def unpaired(string: str, *kinds: tuple[str, str] | str) -> str:
    """The brackets of these kinds that remain when adjacent matching pairs are removed until there are none."""
    pairs = ["".join(kind) for kind in kinds]
    left = "".join(symbol for symbol in string if any(symbol in pair for pair in pairs))
    while any(pair in left for pair in pairs):
        for pair in pairs:
            left = left.replace(pair, "")
    return left


def arrangements(ups: Integers, lengths: Integers, generator: np.random.Generator) -> Walks:
    """Random sequences of steps up (True) and down, one row per length, uniform over all such sequences.

    `ups`: the number of steps up in each row, `[number]`. `lengths`: the number of steps in each row, `[number]`.
    """
    places = np.arange(int(lengths.max(initial=0)))
    keys = generator.random((len(lengths), len(places)))
    keys[places >= lengths[:, None]] = 2.0  # sorts after all random keys
    arranged = np.empty(keys.shape, dtype=np.bool_)
    np.put_along_axis(arranged, np.argsort(keys, axis=1), places < ups[:, None], axis=1)
    return arranged


def balanced_walks(lengths: Integers, generator: np.random.Generator) -> Walks:
    """Walks of these even lengths from 0 to 0 that never fall below 0, uniform over all such walks.

    Uses the cycle lemma (Dvoretzky and Motzkin 1947). Take any arrangement of n + 1 steps up and n steps down. Exactly
    one of its 2n + 1 rotations stays above zero: the one that begins after the last lowest point. Its first step is up.
    Without this step it is a balanced walk. Every balanced walk comes from equally many arrangements.
    """
    sizes = lengths[:, None] + 1
    up = arrangements(lengths // 2 + 1, lengths + 1, generator)
    places = np.arange(up.shape[1])
    heights = np.where(places < sizes, _heights(up), len(places))
    lowest = len(places) - 1 - np.argmin(heights[:, ::-1], axis=1)
    return np.take_along_axis(up, (lowest[:, None] + 2 + places[:-1]) % sizes, axis=1)


def walks_above_zero(lengths: Integers, generator: np.random.Generator) -> Walks:
    """Walks from 0 that never fall below 0, uniform over all `comb(length, length // 2)` of their length.

    Take an arrangement of equally many steps up and down (one more up if the length is odd). Reverse every step down to
    a new lowest point: the result never falls below 0. This is a bijection, because the reversed steps can be found
    again: they are the last steps up to the heights that were gained.
    """
    up = arrangements((lengths + 1) // 2, lengths, generator)
    lowest = np.minimum(np.minimum.accumulate(_heights(up), axis=1), 0)
    return up | (np.diff(lowest, axis=1, prepend=0) < 0)


def _heights(up: Walks) -> NDArray[np.int32]:
    return np.cumsum(np.where(up, 1, -1), axis=1, dtype=np.int32)
