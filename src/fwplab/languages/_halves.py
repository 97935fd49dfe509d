"""The base class of languages whose second half repeats the first one."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language

MARK = "#"


class Half(NamedTuple):
    """The state: before the mark what has been read, after it what is still to come, the next symbol last."""

    text: str
    marked: bool


class MarkedHalves(Language):
    """w # f(w) over {a, b}, where f keeps the length of w.

    The label shows what may come next: - in the first half, later the only possible symbol, or T when the word is
    complete. A string that begins no word has no labels. `draw` is uniform over all words of a length.
    """

    symbols = ("a", "b", MARK)
    classes = ("-", "a", "b", "T")
    start = Half("", False)
    longest = 20_001
    backwards: ClassVar[bool]  # whether f(w) is the reverse of w, or w itself

    def step(self, state: Half | None, symbol: str) -> Half | None:
        if state is None or symbol not in self.following(state):
            return None
        if state.marked:
            return Half(state.text[:-1], True)
        if symbol == MARK:
            return Half(state.text if self.backwards else state.text[::-1], True)
        return Half(state.text + symbol, False)

    def label(self, state: Half | None) -> str | None:
        if state is None:
            return None
        return (state.text[-1:] or "T") if state.marked else "-"

    def following(self, state: Half | None) -> frozenset[str]:
        if state is None:
            return frozenset()
        return frozenset((state.text[-1:] or END,)) if state.marked else frozenset(self.symbols)

    def word_rule(self, string: str) -> bool:
        left, mark, right = string.partition(MARK)
        return bool(mark) and right == (left[::-1] if self.backwards else left)

    def label_rule(self, prefix: str) -> str | None:
        left, mark, right = prefix.partition(MARK)
        whole = left[::-1] if self.backwards else left
        if not mark:
            return "-"
        return (whole + "T")[len(right)] if whole.startswith(right) else None

    def count(self, length: int) -> int:
        return int(2 ** (length // 2)) if length % 2 else 0

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        left = generator.integers(0, 2, size=(number, length // 2), dtype=np.int8)
        mark = np.full((number, 1), self.symbols.index(MARK), dtype=np.int8)
        return np.hstack([left, mark, left[:, ::-1] if self.backwards else left])
