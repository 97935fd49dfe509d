"""Strings as arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fwplab.errors import UserError
from fwplab.languages.language import Language

IGNORE = -100  # the label of padding: the value a cross-entropy leaves out by default


@dataclass(frozen=True, eq=False)
class Dataset:
    """Strings with a label at every position, padded at the end.

    `tokens`: int64 `[strings, time]`, padded with the size of the alphabet.
    `labels`: int64 `[strings, time]`, padded with IGNORE.
    `lengths`: int64 `[strings]`.
    """

    strings: tuple[str, ...]
    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.strings)


def encode(
    language: Language, strings: Sequence[str], targets: Sequence[Sequence[str]] | None = None
) -> Dataset:
    """`strings` as arrays, labelled by the language or, where given, by `targets` (one class a position).

    Raises `UserError` for symbols and classes the language does not have, and for targets that do not fit.
    """
    lengths = np.array([len(string) for string in strings], dtype=np.int64)
    shape = (len(strings), int(lengths.max(initial=0)))
    tokens = np.full(shape, len(language.symbols), dtype=np.int64)
    labels = np.full(shape, IGNORE, dtype=np.int64)
    token = {symbol: index for index, symbol in enumerate(language.symbols)}
    for row, string in enumerate(strings):
        if not token.keys() >= set(string):
            language.labels(string)  # raises, naming the first foreign symbol
        tokens[row, : len(string)] = [token[symbol] for symbol in string]
    rows = _oracle(language, strings) if targets is None else _given(language, strings, targets)
    for row, indices in enumerate(rows):
        labels[row, : lengths[row]] = indices
    return Dataset(tuple(strings), tokens, labels, lengths)


def _oracle(language: Language, strings: Sequence[str]) -> Iterator[list[int]]:
    """The class indices of the language's own labels; each step is computed once, for strings share them."""

    @cache
    def move(state: Any, symbol: str) -> tuple[Any, int]:
        after = language.step(state, symbol)
        label = language.label(after)
        return after, language.classes.index(label) if label is not None else IGNORE

    for string in strings:
        state, indices = language.start, []
        for symbol in string:
            state, index = move(state, symbol)
            indices.append(index)
        if IGNORE in indices:
            language.labels(string)  # raises, naming the first position without a label
        yield indices


def _given(
    language: Language, strings: Sequence[str], targets: Sequence[Sequence[str]]
) -> Iterator[list[int]]:
    if len(targets) != len(strings):
        raise UserError(f"{language.name}: {len(strings)} strings but {len(targets)} targets")
    for number, (string, target) in enumerate(zip(strings, targets, strict=True), start=1):
        if len(target) != len(string):
            raise UserError(
                f"{language.name}: string {number} has {len(string)} symbols, its target {len(target)}"
            )
        foreign = [label for label in target if label not in language.classes]
        if foreign:
            choices = " ".join(language.classes)
            raise UserError(
                f"{language.name}: string {number} has label {foreign[0]!r}, choose from: {choices}"
            )
        yield [language.classes.index(label) for label in target]
