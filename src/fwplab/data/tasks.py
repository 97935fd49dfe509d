"""The tasks: transduction (a label per position), next symbols, and recognition (whether a string is a word).

The functions that draw examples return one for each of the given lengths, in the same order.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fwplab.errors import UserError
from fwplab.languages.language import END, Language

Task = Literal["transduction", "recognition"]
TASKS: tuple[Task, ...] = ("transduction", "recognition")
"""Transduction: a label at every position of a word. Recognition: whether a string is a word, at its last position."""

ATTEMPTS = 1_000
"""The number of attempts to draw a string that is no word."""
NEAR = 64
"""The largest distance from a requested length at which another length is tried."""


class Recognition(Language):
    """Recognition of a language: the last position of a string has the label `1` if the string is a word, else `0`.

    Words, states and next symbols are those of `language`. `label` is defined for every state, so that the answers of a
    model can be compared at every position.

    >>> from fwplab.languages import load_language
    >>> dyck = Recognition(load_language("dyck_1"))
    >>> dyck.labels("(())"), dyck.targets("(())"), dyck.targets("((")
    (['0', '0', '0', '1'], ['1'], ['0'])
    """

    classes = ("0", "1")

    def __init__(self, language: Language) -> None:
        self.language = language
        self.symbols = language.symbols  # type: ignore[misc]  # a class attribute in other languages
        self.hierarchy = language.hierarchy  # type: ignore[misc]
        self.start = language.start  # type: ignore[misc]
        self.longest = language.longest  # type: ignore[misc]

    @property
    def name(self) -> str:
        return self.language.name

    def step(self, state: Any, symbol: str) -> Any:
        return self.language.step(state, symbol)

    def label(self, state: Any) -> str:
        return self.classes[END in self.following(state)]

    def asked(self, length: int) -> int:
        return min(length, 1)

    def following(self, state: Any) -> frozenset[str]:
        return self.language.following(state)

    def counters(self, state: Any) -> dict[str, int]:
        return self.language.counters(state)

    def count(self, length: int) -> int:
        return self.language.count(length)

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        return self.language.draw(length, number, generator)


@cache  # the same object for equal arguments, because other caches are keyed by the language
def for_task(language: Language, task: Task) -> Language:
    """The language whose `targets` are the labels of the task. Raises `UserError` for an unknown task."""
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}; choose from: {', '.join(TASKS)}")
    return language if task == "transduction" or isinstance(language, Recognition) else Recognition(language)


def transduction(
    language: Language, lengths: Sequence[int], generator: np.random.Generator
) -> list[tuple[str, list[str]]]:
    """Draws words of these lengths, with the labels of all positions."""
    return [(word, language.labels(word)) for word in language.sample(lengths, generator)]


def next_symbol_sets(
    language: Language, lengths: Sequence[int], generator: np.random.Generator
) -> list[tuple[str, list[frozenset[str]]]]:
    """Draws words of these lengths, with the set of next symbols at every position. The last set contains END."""
    return [(word, following(language, word)) for word in language.sample(lengths, generator)]


def following(language: Language, string: str) -> list[frozenset[str]]:
    """The set of symbols that may follow each position of a string over the alphabet, in O(n).

    >>> from fwplab.languages import load_language
    >>> [sorted(choices) for choices in following(load_language("counter_2"), "aab")]
    [['a', 'b'], ['a', 'b'], ['b']]
    """
    state, sets = language.start, []
    for symbol in string:
        state = language.step(state, symbol)
        sets.append(language.following(state))
    return sets


def recognition(language: Language, lengths: Sequence[int], generator: np.random.Generator) -> list[tuple[str, bool]]:
    """Draws strings, each with whether it is a word. Half are words, the others come from `non_words`, in random order.

    If there is no word of a given length, the nearest length with words is used (the shorter of two).

    Raises `UserError` if no example is found near a length.
    """
    order = generator.permutation(len(lengths))
    half = (len(lengths) + 1) // 2
    examples: dict[int, tuple[str, bool]] = {}
    words = language.sample([_nearest(language, lengths[place], _has_words) for place in order[:half]], generator)
    examples.update((place, (word, True)) for place, word in zip(order[:half].tolist(), words, strict=True))
    others = non_words(language, [lengths[place] for place in order[half:]], generator)
    examples.update((place, (other, False)) for place, other in zip(order[half:].tolist(), others, strict=True))
    return [examples[place] for place in range(len(lengths))]


def non_words(language: Language, lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Draws nonempty strings that are no words: half are one edit away from a word, the others are uniformly random.

    - An edit substitutes, inserts or deletes one symbol of a random word. The word has the given length, or the nearest
      length with words. The result may be one symbol longer or shorter.
    - A random string has the given length, or the nearest length at which some string is no word.
    - If one kind is not found after many attempts, the other kind is used.

    Raises `UserError` if neither is found.
    """
    near = generator.permutation(len(lengths)) < (len(lengths) + 1) // 2
    found: list[str | None] = [None] * len(lengths)
    for draw, places in (
        (_edited, np.flatnonzero(near)),
        (_uniform, np.flatnonzero(~near)),
        (_uniform, np.flatnonzero(near)),
        (_edited, np.flatnonzero(~near)),
    ):
        missing = [place for place in places.tolist() if found[place] is None]
        for place, string in zip(missing, draw(language, [lengths[n] for n in missing], generator), strict=True):
            found[place] = string
    for length, string in zip(lengths, found, strict=True):
        if string is None:
            raise UserError(f"{language.name}: all strings found near length {length} are words; choose other lengths")
    return [string for string in found if string is not None]


def _edited(language: Language, lengths: Sequence[int], generator: np.random.Generator) -> list[str | None]:
    """For each length a string one edit away from a word, with a new word in every attempt; None if none is found."""
    sizes = [_nearest(language, length, _has_words) for length in lengths]

    def attempt(places: list[int]) -> list[str]:
        words = language.sample([sizes[place] for place in places], generator)
        return [_edit(language, word, generator) for word in words]

    return _retry(language, len(lengths), attempt)


def _uniform(language: Language, lengths: Sequence[int], generator: np.random.Generator) -> list[str | None]:
    """For each length a uniformly random string that is no word; None if none is found."""
    sizes = [_nearest(language, length, _has_non_words) for length in lengths]

    def attempt(places: list[int]) -> list[str]:
        return [_random(language, sizes[place], generator) for place in places]

    return _retry(language, len(lengths), attempt)


def _retry(language: Language, number: int, attempt: Callable[[list[int]], list[str]]) -> list[str | None]:
    """Repeats `attempt` for the places without a result, until each has a string that is no word; None if it fails."""
    found: list[str | None] = [None] * number
    missing = list(range(number))
    for _ in range(ATTEMPTS):
        for place, string in zip(missing, attempt(missing), strict=True):
            if string and not language.contains(string):  # the empty string has no position for a label
                found[place] = string
        missing = [place for place in missing if found[place] is None]
        if not missing:
            break
    return found


def _has_words(language: Language, length: int) -> bool:
    return language.count(length) > 0


def count_non_words(language: Language, length: int) -> int:
    """The number of strings of this length that are no words. The empty string, which has no label, is not counted."""
    return len(language.symbols) ** length - language.count(length) if length else 0


def _has_non_words(language: Language, length: int) -> bool:
    return count_non_words(language, length) > 0


def _nearest(language: Language, length: int, accepts: Callable[[Language, int], bool]) -> int:
    for distance in range(NEAR):
        for candidate in (length - distance, length + distance):
            if candidate >= 0 and accepts(language, candidate):
                return candidate
    raise UserError(f"{language.name} has no example of a length near {length}; choose other lengths")


def _random(language: Language, length: int, generator: np.random.Generator) -> str:
    tokens = generator.integers(len(language.symbols), size=length)
    return "".join(language.symbols[token] for token in tokens)


def _edit(language: Language, word: str, generator: np.random.Generator) -> str:
    """Makes one random substitution (by another symbol, if there is one), insertion or deletion."""
    edit = generator.integers(3) if word else 1
    place = int(generator.integers(len(word) + (edit == 1)))
    choices = [symbol for symbol in language.symbols if edit == 1 or symbol != word[place]]
    symbol = choices[generator.integers(len(choices))] if choices and edit < 2 else ""
    return word[:place] + symbol + word[place + (edit != 1) :]
