"""Finds the smallest chain machine that gives a set of labels."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from fwplab.extraction.mealy import UNDEFINED
from fwplab.smfa.chain import EFFECTS, Chain, Effect, Row, after


@dataclass(frozen=True)
class Answers:
    """A tree of words with a label for each. Shorter words come first.

    Words are numbered from 1, and word 0 is the empty word. The first entry of the lists belongs to the empty word and
    is not used.

    - `symbols`, `classes`: the alphabet and the possible labels.
    - `parents`: the number of each word without its last symbol.
    - `last`: the index of its last symbol.
    - `labels`: the index of its label in `classes`, or UNDEFINED for no label.
    """

    symbols: tuple[str, ...]
    classes: tuple[str, ...]
    parents: list[int]
    last: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.parents) - 1

    @property
    def longest(self) -> int:
        """The length of the longest word."""
        word, length = len(self), 0
        while word:
            word, length = self.parents[word], length + 1
        return length


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of a search for a chain machine.

    - `chain`: the machine; None if no machine was found within the limits on rows and steps.
    - `rows`: the number of rows of the machine, or of the largest machines that were tried.
    - `steps`: the number of words that were read. A word counts each time that it is read.
    - `exhausted`: whether the search was complete. If so, all smaller machines are ruled out, and without a machine so
      are those with `rows` rows.
    """

    chain: Chain | None
    rows: int
    steps: int
    exhausted: bool


def fit(answers: Answers, most_rows: int = 8, most_steps: int = 3_000_000) -> Fit:
    """The chain machine with the fewest rows that gives all `answers`; at equal size, one without a counter.

    A control with n states has n rows without a counter and 2n rows with one. The search fills a table while it reads
    the words, shorter ones first. It tries every value for a missing entry. After a wrong label it goes back to the
    last entry that took part in it. Control states are numbered in order of first use, so that renamed copies of a
    machine are not tried.

    most_rows: the largest number of rows.
    most_steps: the largest number of words that are read, over all sizes.
    """
    steps = 0
    for rows in range(1, most_rows + 1):
        for chained in (False, True) if rows % 2 == 0 else (False,):
            search = _Search(answers, rows // (1 + chained), chained, most_steps - steps)
            found = search.run()
            steps += search.steps
            if found or steps >= most_steps:
                return Fit(search.machine() if found else None, rows, steps, found)
    return Fit(None, most_rows, steps, True)


Choice = tuple[int, Effect]
"""The next control state and the effect on the depth."""
Key = tuple[int, bool, int]
"""A control state, whether the depth is above 0, and the index of a symbol."""


class _Search:
    """Depth-first search over the tables of one size. `stack` holds the filled entries and the values not yet tried."""

    def __init__(self, answers: Answers, controls: int, chained: bool, most_steps: int) -> None:
        self.answers, self.controls, self.chained, self.most_steps = answers, controls, chained, most_steps
        self.table: dict[Key, Choice] = {}
        self.outputs: dict[Row, int] = {}
        self.keys: list[Key] = [(0, False, 0)] * len(answers.parents)
        self.stack: list[_Entry] = []
        self.output_log: list[tuple[Row, int]] = []
        self.steps = 0

    def run(self) -> bool:
        """Fills `table` and `outputs` so that they give all labels. Returns whether such a table was found."""
        places: list[tuple[int, int]] = [(0, 0)] * len(self.answers.parents)
        word = 1
        while word <= len(self.answers):
            self.steps += 1
            if self.steps >= self.most_steps:
                return False
            control, depth = places[self.answers.parents[word]]
            key = self.keys[word] = control, depth > 0, self.answers.last[word]
            if key not in self.table:
                self.stack.append(_Entry(key, word, len(self.output_log), self._choices(depth > 0)))
                self.table[key] = next(self.stack[-1].untried)
            to, effect = self.table[key]
            places[word] = (to, after(depth, effect))
            row = to, places[word][1] > 0
            if self._fits(word, row):
                word += 1
            elif self._backtrack(
                self._entries_of(word)
                | self._entries_of(next(first for other, first in self.output_log if other == row))
            ):
                word = self.stack[-1].word
            else:
                return False
        return True

    def _choices(self, above: bool) -> "Iterator[Choice]":
        used = 1 + max((0, *(control for control, _, _ in self.table), *(to for to, _ in self.table.values())))
        effects = EFFECTS if above else EFFECTS[: 1 + self.chained]
        return iter([(to, effect) for effect, to in product(effects, range(min(used + 1, self.controls)))])

    def _fits(self, word: int, row: Row) -> bool:
        """Whether the row's output is the label of the word. A row without an output takes the label."""
        label = self.answers.labels[word]
        if label == UNDEFINED:
            return True
        if row not in self.outputs:
            self.outputs[row] = label
            self.output_log.append((row, word))
        return self.outputs[row] == label

    def _entries_of(self, word: int) -> set[Key]:
        """The table entries that are used to read a word."""
        used = set()
        while word:
            used.add(self.keys[word])
            word = self.answers.parents[word]
        return used

    def _backtrack(self, blamed: set[Key]) -> bool:
        """Sets the last blamed entry to its next value and clears all later entries. Returns False if no value is left.

        Entries that took part in no wrong label are skipped, because no value of theirs can help (Prosser's
        conflict-directed backjumping, Computational Intelligence 9, 1993).
        """
        while self.stack:
            entry = self.stack[-1]
            for row, _ in self.output_log[entry.known_outputs :]:
                del self.outputs[row]
            del self.output_log[entry.known_outputs :]
            choice = None
            if entry.key in blamed:
                entry.blamed.update(blamed - {entry.key})
                choice, blamed = next(entry.untried, None), entry.blamed
            if choice is not None:
                self.table[entry.key] = choice
                return True
            del self.table[self.stack.pop().key]
        return False

    def machine(self) -> Chain:
        """The chain machine of the table."""
        symbols, classes = self.answers.symbols, self.answers.classes
        outputs = {row: classes[label] for row, label in self.outputs.items()}
        moves = {((control, above), symbols[read]): to for (control, above, read), to in self.table.items()}
        return Chain(symbols, outputs, moves)


@dataclass(frozen=True, eq=False)
class _Entry:
    """A filled table entry.

    - `word`: the word for which it was filled.
    - `known_outputs`: how many rows had an output then.
    - `untried`: the values that are left to try.
    - `blamed`: the other entries that took part in the wrong labels of the values tried so far.
    """

    key: Key
    word: int
    known_outputs: int
    untried: "Iterator[Choice]"
    blamed: set[Key] = field(default_factory=set)
