"""The smallest chain machine that gives the answers it is shown."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from fwplab.extraction.mealy import UNDEFINED
from fwplab.smfa.chain import EFFECTS, Chain, Effect, Row, after


@dataclass(frozen=True)
class Answers:
    """Words as a tree, shorter ones first: each is an earlier one, `parents[n]`, and one symbol more, `last[n]`.

    Words are numbered from 1 on, 0 is the empty word. `said` has an index into `classes` for each word, or UNDEFINED
    where nothing is asked; the first entry of all three lists stands for the empty word and means nothing.
    """

    symbols: tuple[str, ...]
    classes: tuple[str, ...]
    parents: list[int]
    last: list[int]
    said: list[int]

    def __len__(self) -> int:
        return len(self.parents) - 1

    @property
    def longest(self) -> int:
        """The length of the last word."""
        word, length = len(self), 0
        while word:
            word, length = self.parents[word], length + 1
        return length


@dataclass(frozen=True, eq=False)
class Fit:
    """`chain` is None where no machine of so few rows, or none within so many steps, gives the answers.

    `exhausted`: all machines with fewer rows were ruled out, those with as many too where there is no chain.
    `steps`: how many words were read in all, each as often as it was tried anew.
    """

    chain: Chain | None
    rows: int
    steps: int
    exhausted: bool


def fit(answers: Answers, most_rows: int = 8, most_steps: int = 3_000_000) -> Fit:
    """The chain machine with the fewest rows that gives all `answers`; at equal number, the one without a chain.

    A control of n states has n rows without a chain and 2n with one. A table is filled while the words are read,
    shorter ones first: where an entry is missing, every value is tried in turn, and a wrong answer takes back the last
    entry that had a part in it. Control states are numbered in the order in which they come up, so that no machine is
    tried under two names.
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
Key = tuple[int, bool, int]


class _Search:
    """Depth-first through the tables of one size; `stack` has the filled entries, with what is left to try in each."""

    def __init__(self, answers: Answers, controls: int, chained: bool, most_steps: int) -> None:
        self.answers, self.controls, self.chained, self.most_steps = answers, controls, chained, most_steps
        self.table: dict[Key, Choice] = {}
        self.outputs: dict[Row, int] = {}
        self.keys: list[Key] = [(0, False, 0)] * len(answers.parents)
        self.stack: list[_Entry] = []
        self.heard: list[tuple[Row, int]] = []
        self.steps = 0

    def run(self) -> bool:
        """Whether a table gives all answers; it is left in `table` and `outputs`."""
        places: list[tuple[int, int]] = [(0, 0)] * len(self.answers.parents)
        word = 1
        while word <= len(self.answers):
            self.steps += 1
            if self.steps >= self.most_steps:
                return False
            control, depth = places[self.answers.parents[word]]
            key = self.keys[word] = control, depth > 0, self.answers.last[word]
            if key not in self.table:
                self.stack.append(_Entry(key, word, len(self.heard), self._choices(depth > 0)))
                self.table[key] = next(self.stack[-1].left)
            to, effect = self.table[key]
            places[word] = (to, after(depth, effect))
            row = to, places[word][1] > 0
            if self._hears(word, row):
                word += 1
            elif self._back(self._used(word) | self._used(next(first for other, first in self.heard if other == row))):
                word = self.stack[-1].word
            else:
                return False
        return True

    def _choices(self, above: bool) -> "Iterator[Choice]":
        known = 1 + max((0, *(control for control, _, _ in self.table), *(to for to, _ in self.table.values())))
        effects = EFFECTS if above else EFFECTS[: 1 + self.chained]
        return iter([(to, effect) for effect, to in product(effects, range(min(known + 1, self.controls)))])

    def _hears(self, word: int, row: Row) -> bool:
        """Whether the row's output is the answer to the word; a row without one takes it."""
        said = self.answers.said[word]
        if said == UNDEFINED:
            return True
        if row not in self.outputs:
            self.outputs[row] = said
            self.heard.append((row, word))
        return self.outputs[row] == said

    def _used(self, word: int) -> set[Key]:
        """The entries that a word was read with."""
        used = set()
        while word:
            used.add(self.keys[word])
            word = self.answers.parents[word]
        return used

    def _back(self, blamed: set[Key]) -> bool:
        """Puts the next value into the last entry that is to blame, and takes back all later ones; False if none has.

        Entries that no wrong answer was read with are passed over: whatever they say, it stays wrong (Prosser's
        conflict-directed backjumping, Computational Intelligence 9, 1993).
        """
        while self.stack:
            entry = self.stack[-1]
            for row, _ in self.heard[entry.heard :]:
                del self.outputs[row]
            del self.heard[entry.heard :]
            choice = None
            if entry.key in blamed:
                entry.blamed.update(blamed - {entry.key})
                choice, blamed = next(entry.left, None), entry.blamed
            if choice is not None:
                self.table[entry.key] = choice
                return True
            del self.table[self.stack.pop().key]
        return False

    def machine(self) -> Chain:
        """The machine of the table."""
        symbols, classes = self.answers.symbols, self.answers.classes
        outputs = {row: classes[said] for row, said in self.outputs.items()}
        moves = {((control, above), symbols[read]): to for (control, above, read), to in self.table.items()}
        return Chain(symbols, outputs, moves)


@dataclass(frozen=True, eq=False)
class _Entry:
    """A table entry that was filled when `word` came up, after so many outputs were heard.

    `blamed`: the entries without which its values so far would not have been wrong.
    """

    key: Key
    word: int
    heard: int
    left: "Iterator[Choice]"
    blamed: set[Key] = field(default_factory=set)
