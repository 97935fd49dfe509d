"""Strings and labels as arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fwplab.errors import UserError
from fwplab.languages.language import Language

MOST_POSITIONS = 100_000_000
"""The most positions of a data set, padding included; each takes 16 bytes."""
IGNORE = -100  # the label of padding and of unlabelled positions: the default `ignore_index` of a cross-entropy


@dataclass(frozen=True, eq=False)
class Dataset:
    """Strings and their labels, padded at the end.

    - `tokens`: token indices, `[strings, time]`. The padding token is the size of the alphabet.
    - `labels`: class indices, `[strings, time]`; IGNORE at positions without a label.
    - `lengths`: the lengths of the strings, `[strings]`.
    """

    strings: tuple[str, ...]
    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.strings)


def encode(language: Language, strings: Sequence[str], targets: Sequence[Sequence[str]] | None = None) -> Dataset:
    """Converts strings and their labels to arrays.

    `targets`: for each string the classes of its labelled positions, which are its last ones. The default is the labels
    of the language. Raises `UserError` for a symbol or class that the language does not have, and for a target of the
    wrong length.
    """
    lengths = np.array([len(string) for string in strings], dtype=np.int64)
    shape = (len(strings), int(lengths.max(initial=0)))
    if shape[0] * shape[1] > MOST_POSITIONS:
        raise UserError(
            f"{shape[0]:,} strings of up to {shape[1]:,} symbols need too much memory; choose at most "
            f"{MOST_POSITIONS:,} positions, with each string as long as the longest"
        )
    tokens = np.full(shape, len(language.symbols), dtype=np.int64)
    labels = np.full(shape, IGNORE, dtype=np.int64)
    token = {symbol: index for index, symbol in enumerate(language.symbols)}
    label = {name: index for index, name in enumerate(language.classes)}
    rows = map(language.targets, strings) if targets is None else _fitting(language, strings, targets)
    for row, (string, target) in enumerate(zip(strings, rows, strict=True)):
        labels[row, len(string) - len(target) : len(string)] = [label[name] for name in target]
        tokens[row, : len(string)] = [token[symbol] for symbol in string]
    return Dataset(tuple(strings), tokens, labels, lengths)


def _fitting(language: Language, strings: Sequence[str], targets: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """The targets, each checked against its string."""
    if len(targets) != len(strings):
        raise UserError(f"{language.name}: {len(strings)} strings but {len(targets)} targets")
    for number, (string, target) in enumerate(zip(strings, targets, strict=True), start=1):
        if len(target) != (asked := language.asked(len(string))):
            raise UserError(f"{language.name}: string {number} has {asked} labels, its target {len(target)}")
        for kind, names, known in (("symbol", string, language.symbols), ("label", target, language.classes)):
            foreign = [name for name in names if name not in known]
            if foreign:
                choices = " ".join(known)
                raise UserError(f"{language.name}: string {number} has {kind} {foreign[0]!r}, choose from: {choices}")
        yield target
