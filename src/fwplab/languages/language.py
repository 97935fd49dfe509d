"""What a language is: a machine that reads symbols, and a way to draw words of a given length."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fwplab.catalogue import Catalogue
from fwplab.errors import UserError

END = "end"  # stands in a set of next symbols when the word may end here
SYMBOLS_AT_ONCE = 2**20  # a sampler works in batches of so many symbols, to bound its memory


class Language(ABC):
    """A language as a deterministic machine, possibly with infinitely many states, and a sampler.

    A subclass names its alphabet and label classes, and defines `start`, `step`, `label` and `following`;
    labels, membership and next symbols all come from these four, so they cannot disagree.
    States are hashable values: equal states have the same future.
    """

    symbols: ClassVar[tuple[str, ...]]  # alphabet: single characters, their order is the token index
    classes: ClassVar[tuple[str, ...]]  # label classes, their order is the class index
    hierarchy: ClassVar[str]  # place in the Chomsky and counter hierarchies
    start: ClassVar[Any]  # the state after the empty string

    @abstractmethod
    def step(self, state: Any, symbol: str) -> Any:
        """The state after one more symbol of the alphabet."""

    @abstractmethod
    def label(self, state: Any) -> str | None:
        """The label class of a position whose symbol led to `state`; None where none is defined."""

    @abstractmethod
    def following(self, state: Any) -> frozenset[str]:
        """The symbols that may come next on the way to some word, END after a whole word; empty if dead."""

    def counters(self, state: Any) -> dict[str, int]:
        """What the state counts, by name; empty where the states are finitely many or the state is dead."""
        return {}

    @abstractmethod
    def count(self, length: int) -> int:
        """The exact number of distinct words of this length."""

    @abstractmethod
    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Independent words as token indices `[number, length]`; called where `count(length) > 0` only."""

    def word_rule(self, string: str) -> bool | None:
        """Whether `string` is a word, by the rule itself and without the states; None where no such rule is written.

        The second definition of the language: tests, and the check of a language from outside, compare it with the
        states. `string`: any string over the alphabet.
        """
        return None

    def label_rule(self, prefix: str) -> str | None:
        """The label of the last position of `prefix`, by the rule itself and without the states.

        None where the language labels no such position. Without an override: the second class after a word, else the
        first. `prefix`: any string over the alphabet but the empty one.
        """
        return self.classes[bool(self.word_rule(prefix))]

    def draw_weight(self, word: str) -> float:
        """How likely `draw` gives this word in proportion to the others of its length; 1 where all are equally likely.

        Stated, like the two rules, for tests to compare with `draw`.
        """
        return 1.0

    @property
    def name(self) -> str:
        """The name under which the catalogue finds this language."""
        return _name_of(type(self))

    def labels(self, string: str) -> list[str]:
        """One label class a position, in O(n).

        Raises `UserError` naming the position (from 1) of a symbol outside the alphabet, or of one that
        no word continues with where the language labels prefixes of its words only.
        """
        state, labels = self.start, []
        for position, symbol in enumerate(string, start=1):
            if symbol not in self.symbols:
                raise UserError(
                    f"{self.name}: symbol {symbol!r} at position {position} is outside the alphabet, "
                    f"choose from: {' '.join(self.symbols)}"
                )
            before = state
            state, label = _move(self, before, symbol)
            if label is None:
                allowed = " ".join(sorted(self.following(before)))
                raise UserError(
                    f"{self.name}: symbol {symbol!r} at position {position} continues no word, choose from: {allowed}"
                )
            labels.append(label)
        return labels

    def asked(self, length: int) -> int:
        """How many positions of a string of this length, counted from its end, a model is asked about: here all."""
        return length

    def targets(self, string: str) -> list[str]:
        """The labels that a model is trained and judged on: those of the positions that are asked about."""
        return self.labels(string)[len(string) - self.asked(len(string)) :]

    def contains(self, string: str) -> bool:
        """Whether `string` is a word of the language; one with foreign symbols is not."""
        return END in self.next_symbols(string)

    def next_symbols(self, prefix: str) -> frozenset[str]:
        """The symbols that may follow `prefix`, with END exactly when it is a word; empty if it is dead."""
        state = self.start
        for symbol in prefix:
            if symbol not in self.symbols:
                return frozenset()
            state, _ = _move(self, state, symbol)
        return self.following(state)

    def machine(self, limit: int) -> dict[Any, dict[str, Any]] | None:
        """The states that can be reached, the start first, each with its moves; None where there are more than `limit`.

        >>> from fwplab.languages import load_language
        >>> load_language("parity").machine(10)
        {0: {'0': 0, '1': 1}, 1: {'0': 1, '1': 0}}
        >>> load_language("dyck_1").machine(100) is None
        True
        """
        moves: dict[Any, dict[str, Any]] = {}
        waiting = [self.start]
        while waiting:
            state = waiting.pop(0)
            if state in moves:
                continue
            if len(moves) == limit:
                return None
            moves[state] = {symbol: self.step(state, symbol) for symbol in self.symbols}
            waiting += moves[state].values()
        return moves

    def lengths(self, low: int, high: int) -> list[int]:
        """The lengths from `low` to `high`, both included, at which the language has a word."""
        return [length for length in range(max(low, 0), high + 1) if self.count(length) > 0]

    def sample(self, lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
        """One word of exactly each of the `lengths`, independent; those of one length are drawn together.

        Raises `UserError` for a length at which the language has no word.
        """
        wanted = np.asarray(lengths, dtype=np.int64)
        words = [""] * len(wanted)
        for length in np.unique(wanted).tolist():
            if length < 0 or self.count(length) == 0:
                near = ", ".join(map(str, self.lengths(length - 8, length + 8))) or "none"
                raise UserError(f"{self.name} has no word of length {length}; lengths near it: {near}")
            places = np.flatnonzero(wanted == length).tolist()
            rows = max(1, SYMBOLS_AT_ONCE // max(1, length))
            for begin in range(0, len(places) if length else 0, rows):
                batch = places[begin : begin + rows]
                for place, word in zip(batch, self._words(length, len(batch), generator), strict=True):
                    words[place] = word
        return words

    def _words(self, length: int, number: int, generator: np.random.Generator) -> list[str]:
        letters = np.array(self.symbols, dtype="U1")[self.draw(length, number, generator)]
        words: list[str] = letters.view(f"U{length}")[:, 0].tolist()
        return words


LANGUAGES: Catalogue[Language] = Catalogue(
    "language",
    "fwplab.languages",
    Language,
    besides=("language", "tasks", "dataset", "splits", "corpus", "audit", "contract"),
)


@lru_cache(maxsize=2**16)  # strings take the same steps again and again
def _move(language: Language, state: Any, symbol: str) -> tuple[Any, str | None]:
    after = language.step(state, symbol)
    return after, language.label(after)


@cache  # the catalogue looks through the metadata of all installed packages
def _name_of(kind: type[Language]) -> str:
    return LANGUAGES.name_of(kind)
