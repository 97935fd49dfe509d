"""What may be asked about the strings of a language: labels (transduction), next symbols, membership (recognition).

The functions take the lengths of their strings and a generator, and return one example for each length, in order.
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
"""A label at every position of a word; or at the last position of any string whether it is a word."""

ATTEMPTS = 1_000
"""Draws after which a string that is no word counts as not found."""
NEAR = 64
"""How far from a wanted length another one is looked for."""


class Recognition(Language):
    """A language with the question whether a string is a word, asked at its last position: `1` or `0`.

    Words, states and what may follow are those of `language`; `label` answers for any state, so that a model's
    answers can be read at every position.

    >>> from fwplab.languages import load_language
    >>> asked = Recognition(load_language("dyck_1"))
    >>> asked.labels("(())"), asked.targets("(())"), asked.targets("((")
    (['0', '0', '0', '1'], ['1'], ['0'])
    """

    classes = ("0", "1")

    def __init__(self, language: Language) -> None:
        self.language = language
        self.symbols = language.symbols  # type: ignore[misc]  # of the class elsewhere
        self.hierarchy = language.hierarchy  # type: ignore[misc]
        self.start = language.start  # type: ignore[misc]

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


@cache  # the same object each time, for what is kept about a language
def for_task(language: Language, task: Task) -> Language:
    """The language whose targets are what the task asks for; a `UserError` for an unknown task."""
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}; choose from: {', '.join(TASKS)}")
    return language if task == "transduction" or isinstance(language, Recognition) else Recognition(language)


def transduction(
    language: Language, lengths: Sequence[int], generator: np.random.Generator
) -> list[tuple[str, list[str]]]:
    """Words of these lengths, with a label at every position."""
    return [(word, language.labels(word)) for word in language.sample(lengths, generator)]


def next_symbol_sets(
    language: Language, lengths: Sequence[int], generator: np.random.Generator
) -> list[tuple[str, list[frozenset[str]]]]:
    """Words of these lengths, with what may follow each position; END is in the last set."""
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
    """Strings with whether they are words: half of them words, the others as `non_words` draws them, in random order.

    A word of a length that has none takes the nearest length that has (the shorter of two).

    Raises `UserError` where no word, or no string that is none, is found near a length.
    """
    order = generator.permutation(len(lengths))
    half = (len(lengths) + 1) // 2
    examples: dict[int, tuple[str, bool]] = {}
    words = language.sample([_nearest(language, lengths[place], _some_word) for place in order[:half]], generator)
    examples.update((place, (word, True)) for place, word in zip(order[:half].tolist(), words, strict=True))
    others = non_words(language, [lengths[place] for place in order[half:]], generator)
    examples.update((place, (other, False)) for place, other in zip(order[half:].tolist(), others, strict=True))
    return [examples[place] for place in range(len(lengths))]


def non_words(language: Language, lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Strings that are no words, none empty: half one edit away from a word, the others uniform over all strings.

    An edit substitutes, inserts or deletes one symbol of a random word, of the given length or the nearest that has
    words; so its string may be longer or shorter by one. A uniform string is of the given length, or the nearest at
    which some string is no word. Where no edit of many words leads out of the language (every short string is a word,
    say), a uniform string stands in; and an edited word where nearly all strings are words.

    Raises `UserError` where neither is found.
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
    """For each length a string one edit away from a word; another word for every attempt."""
    sizes = [_nearest(language, length, _some_word) for length in lengths]

    def attempt(places: list[int]) -> list[str]:
        words = language.sample([sizes[place] for place in places], generator)
        return [_edit(language, word, generator) for word in words]

    return _attempts(language, len(lengths), attempt)


def _uniform(language: Language, lengths: Sequence[int], generator: np.random.Generator) -> list[str | None]:
    """For each length a string drawn from all."""
    sizes = [_nearest(language, length, _some_other) for length in lengths]

    def attempt(places: list[int]) -> list[str]:
        return [_random(language, sizes[place], generator) for place in places]

    return _attempts(language, len(lengths), attempt)


def _attempts(language: Language, number: int, attempt: Callable[[list[int]], list[str]]) -> list[str | None]:
    """Draws for those places again that have found no string that is no word, None where none comes up."""
    found: list[str | None] = [None] * number
    missing = list(range(number))
    for _ in range(ATTEMPTS):
        for place, string in zip(missing, attempt(missing), strict=True):
            if string and not language.contains(string):  # an empty string has no position to ask at
                found[place] = string
        missing = [place for place in missing if found[place] is None]
        if not missing:
            break
    return found


def _some_word(language: Language, length: int) -> bool:
    return language.count(length) > 0


def count_others(language: Language, length: int) -> int:
    """How many strings of this length are no words; the empty one does not count, it has no position to ask at."""
    return len(language.symbols) ** length - language.count(length) if length else 0


def _some_other(language: Language, length: int) -> bool:
    return count_others(language, length) > 0


def _nearest(language: Language, length: int, suits: Callable[[Language, int], bool]) -> int:
    for distance in range(NEAR):
        for candidate in (length - distance, length + distance):
            if candidate >= 0 and suits(language, candidate):
                return candidate
    raise UserError(f"{language.name} has no example of a length near {length}; choose other lengths")


def _random(language: Language, length: int, generator: np.random.Generator) -> str:
    tokens = generator.integers(len(language.symbols), size=length)
    return "".join(language.symbols[token] for token in tokens)


def _edit(language: Language, word: str, generator: np.random.Generator) -> str:
    """One random substitution (by another symbol, if there is one), insertion or deletion."""
    edit = generator.integers(3) if word else 1
    place = int(generator.integers(len(word) + (edit == 1)))
    choices = [symbol for symbol in language.symbols if edit == 1 or symbol != word[place]]
    symbol = choices[generator.integers(len(choices))] if choices and edit < 2 else ""
    return word[:place] + symbol + word[place + (edit != 1) :]
