"""Balanced brackets of several kinds."""

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.errors import UserError
from fwplab.languages._counting import KINDS, balanced_walks, unpaired
from fwplab.languages.language import END, Language


class DyckN(Language):
    """Dyck-n: balanced strings of n kinds of brackets, for n from 2 to 4. A pair closes what was opened last.

    The label of a position is the closing bracket that is due, or - if none is open. A string that begins no word has
    no labels.

    `draw` is uniform over all words of a length.

    >>> from fwplab.languages import load_language
    >>> two = load_language("dyck_2")
    >>> " ".join(two.labels("([])"))
    ') ] ) -'
    >>> two.contains("()[]"), two.contains("([)]"), two.count(4)
    (True, False, 8)
    >>> sorted(two.next_symbols("([")), sorted(two.next_symbols("()"))
    (['(', '[', ']'], ['(', '[', 'end'])
    """

    numbers = (2,)
    hierarchy = "context-free"
    start = ""  # the closing brackets that are due, the next one last
    longest = 100_000

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 2 <= number <= len(KINDS):
            raise UserError(f"dyck_n has members for n from 2 to {len(KINDS)}, and dyck_1, not {number}")
        return {"symbols": tuple("".join(KINDS[:number])), "classes": ("-", *(kind[1] for kind in KINDS[:number]))}

    def step(self, state: str | None, symbol: str) -> str | None:
        if state is None:
            return None
        kind, closing = divmod(self.symbols.index(symbol), 2)
        if not closing:
            return state + KINDS[kind][1]
        return state[:-1] if state.endswith(symbol) else None

    def label(self, state: str | None) -> str | None:
        return None if state is None else state[-1:] or "-"

    def following(self, state: str | None) -> frozenset[str]:
        return frozenset() if state is None else frozenset((*self.symbols[::2], state[-1:] or END))

    def word_rule(self, string: str) -> bool:
        return self.label_rule(string) == "-"

    def label_rule(self, prefix: str) -> str | None:
        """Takes adjacent pairs away until there are none. Only opening brackets may be left."""
        left = unpaired(prefix, *KINDS)
        if any(kind[1] in left for kind in KINDS):
            return None
        return next((kind[1] for kind in KINDS if left.endswith(kind[0])), "-")

    def count(self, length: int) -> int:
        half, odd = divmod(length, 2)
        return 0 if odd else comb(length, half) // (half + 1) * (len(self.symbols) // 2) ** half

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        up = balanced_walks(np.full(number, length), generator)
        kinds = generator.integers(len(self.symbols) // 2, size=up.shape, dtype=np.int8)
        tokens = (2 * kinds).astype(np.int8)
        for row, steps in zip(tokens, up.tolist(), strict=True):
            due = []
            for place, step in enumerate(steps):
                if step:
                    due.append(row[place] + 1)
                else:
                    row[place] = due.pop()
        return tokens
