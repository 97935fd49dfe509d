"""Three tasks from one definition of a language: transduction, next-symbol sets, recognition.

Each takes the lengths of its strings and a generator, and returns one example for each length, in order.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from fwplab.errors import UserError
from fwplab.languages.language import Language

ATTEMPTS = 1_000  # after so many members in a row a language is taken to have no negatives there
NEAR = 64  # how far from a wanted length another one is looked for


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

    >>> from fwplab.languages import language
    >>> [sorted(choices) for choices in following(language("counter_2"), "aab")]
    [['a', 'b'], ['a', 'b'], ['b']]
    """
    state, sets = language.start, []
    for symbol in string:
        state = language.step(state, symbol)
        sets.append(language.following(state))
    return sets


def recognition(language: Language, lengths: Sequence[int], generator: np.random.Generator) -> list[tuple[str, bool]]:
    """Strings, half of them members (True), a quarter hard negatives, a quarter random ones.

    A hard negative is one edit (substitute, insert or delete a symbol) away from a member, a random one is
    uniform over the strings of the alphabet; both are checked to be no members. Which is which is random.

    Lengths are kept where that is possible. A member of a length that has none takes the nearest that has
    (the shorter of two); a random negative of a length at which every string is a member moves likewise (of
    aa_star, to an odd length); a hard negative is longer or shorter by one if the edit inserts or deletes.

    Raises `UserError` if no member or no negative is to be found near a length.
    """
    kinds = generator.permutation(len(lengths)) * 4 // max(1, len(lengths))
    has_member = [_nearest(language, length, _some_member) for length in lengths]
    members = language.sample(has_member, generator)
    examples: list[tuple[str, bool]] = []
    for kind, length, member in zip(kinds.tolist(), lengths, members, strict=True):
        if kind < 2:
            examples.append((member, True))
        elif kind == 2:
            examples.append((_negative(language, partial(_edit, language, member, generator)), False))
        else:
            size = _nearest(language, length, _some_negative)
            examples.append((_negative(language, partial(_random, language, size, generator)), False))
    return examples


def _some_member(language: Language, length: int) -> bool:
    return language.count(length) > 0


def _some_negative(language: Language, length: int) -> bool:
    strings: int = len(language.symbols) ** length
    return language.count(length) < strings


def _nearest(language: Language, length: int, suits: Callable[[Language, int], bool]) -> int:
    for distance in range(NEAR):
        for candidate in (length - distance, length + distance):
            if candidate >= 0 and suits(language, candidate):
                return candidate
    raise UserError(f"{language.name} has no example of a length near {length}; choose other lengths")


def _negative(language: Language, draw: Callable[[], str]) -> str:
    for _ in range(ATTEMPTS):
        string = draw()
        if not language.contains(string):
            return string
    raise UserError(f"{language.name}: {ATTEMPTS} strings in a row were words; choose other lengths")


def _random(language: Language, length: int, generator: np.random.Generator) -> str:
    tokens = generator.integers(len(language.symbols), size=length)
    return "".join(language.symbols[token] for token in tokens)


def _edit(language: Language, word: str, generator: np.random.Generator) -> str:
    """One random substitution (by another symbol, if there is one), insertion or deletion."""
    edit = generator.integers(3) if word else 1
    place = int(generator.integers(len(word) + (edit == 1)))
    others = [symbol for symbol in language.symbols if edit == 1 or symbol != word[place]]
    symbol = others[generator.integers(len(others))] if others and edit < 2 else ""
    return word[:place] + symbol + word[place + (edit != 1) :]
