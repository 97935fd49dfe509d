"""Training, validation and test sets that share no string where the language has enough of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from fwplab.errors import UserError
from fwplab.languages.dataset import Dataset, encode
from fwplab.languages.language import Language
from fwplab.languages.tasks import TASKS, Task, count_others, for_task, non_words

Window = tuple[int, int]  # a lowest and a highest length, both included

# Every string belongs to one pool, by its hash, so that sets cannot meet whatever their sizes are.
# The value says where in [0, 1) the pool begins and ends.
POOLS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
DRAWS_A_STRING = 20  # where strings are few: after as many draws a string, all but 2e-9 of them have come up


@dataclass(frozen=True)
class SplitSpec:
    """How many strings of which lengths: bin0 has the lengths of the training set, bin1 the longer ones.

    The `test_lengths` are further sets that no selection sees, unless the language has no other strings of a bin's
    lengths. `seed` fixes every string. `task`: "transduction" asks for a label at every position of a word,
    "recognition" whether a string is a word; half of its strings are.
    """

    train_lengths: Window = (2, 50)
    """Lowest and highest length of training and of Bin0."""
    longer_lengths: Window = (51, 100)
    """Lowest and highest length of Bin1."""
    train_strings: int = 10_000
    """Strings of the training set."""
    validation_strings: int = 2_000
    """Strings of each bin."""
    test_lengths: tuple[Window, ...] = ((2, 50), (51, 100), (101, 200), (201, 500), (1000, 1000))
    """Lowest and highest length of each test set."""
    test_strings: int = 1_000
    """Strings of each test set."""
    seed: int = 0
    """Seed of the strings."""
    task: Task = "transduction"
    """What the labels are: those of every prefix (transduction), or whether the string is a word (recognition)."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"unknown task {self.task!r}; choose from: {', '.join(TASKS)}")
        for low, high in (self.train_lengths, self.longer_lengths, *self.test_lengths):
            if not 0 <= low <= high:
                raise UserError(f"lengths {low} to {high}: choose 0 <= low <= high")
        for number in (self.train_strings, self.validation_strings, self.test_strings):
            if number < 1:
                raise UserError(f"a split of {number} strings: choose 1 or more")
        if self.seed < 0:
            raise UserError(f"seed {self.seed}: choose 0 or more")


@dataclass(frozen=True)
class SplitSummary:
    """What a split holds; `in_train` counts its distinct strings that the training set holds too.

    `shortest` and `longest` are the lengths of its strings; in a run's record, those that it was asked for.
    """

    split: str
    shortest: int
    longest: int
    strings: int
    distinct: int
    in_train: int


class Tests(Mapping[Window, Dataset]):
    """Test sets by their window of lengths, each drawn when first asked for: not every run wants them all."""

    def __init__(self, windows: Sequence[Window], draw: Callable[[Window], Dataset]) -> None:
        self._windows = tuple(dict.fromkeys(windows))
        self._draw = draw
        self._drawn: dict[Window, Dataset] = {}

    def __getitem__(self, window: Window) -> Dataset:
        if window not in self._windows:
            raise KeyError(window)
        if window not in self._drawn:
            self._drawn[window] = self._draw(window)
        return self._drawn[window]

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows)

    def __len__(self) -> int:
        return len(self._windows)


@dataclass(frozen=True, eq=False)
class Splits:
    """The sets of one `SplitSpec`; `tests` by their window of lengths."""

    train: Dataset
    bin0: Dataset
    bin1: Dataset
    tests: Mapping[Window, Dataset]

    def named(self) -> dict[str, Dataset]:
        """All sets by name: train, bin0, bin1, test_2_50, ..."""
        tests = {f"test_{low}_{high}": test for (low, high), test in self.tests.items()}
        return {"train": self.train, "bin0": self.bin0, "bin1": self.bin1, **tests}

    def summary(self) -> list[SplitSummary]:
        """Counts of strings, distinct strings and overlaps with the training set, for every set."""
        return [summarise(name, data.strings, self.train.strings) for name, data in self.named().items()]


def summarise(split: str, strings: Sequence[str], train: Sequence[str], lengths: Window | None = None) -> SplitSummary:
    """The counts of one set against the training set; its lengths are those of its strings where none are given."""
    distinct = set(strings)
    own = [len(string) for string in distinct] or [0]
    shortest, longest = lengths or (min(own), max(own))
    return SplitSummary(split, shortest, longest, len(strings), len(distinct), len(distinct & set(train)))


def make_splits(language: Language, spec: SplitSpec) -> Splits:
    """All sets of `spec`, each from a generator of its own, so that none depends on the sizes of the others.

    Strings of a set are distinct, equally many of each admissible length, and none is in two of the pools for
    training, validation and test. A length with few strings gives those of the set's pool, and the rest of
    the budget goes to longer ones; a language with fewer strings than asked for repeats them in the training
    set, and has smaller validation and test sets. Where no length of a window has two strings (unary and
    counter languages) disjoint sets are impossible: every set then draws on all strings, once each in
    validation and test. `Splits.summary` counts it all. A test window without an admissible length takes the
    next longer one.

    For the task "recognition" half of a set's strings are words, drawn so; the other half are none, distinct, of the
    set's own pool and window, drawn by `non_words`. A validation or test set of a language with few words has as few
    strings that are none. A window in which every string is a word takes these from the lengths next to it.

    Raises `UserError` where a window leaves a set without a string (for a test set: when it is asked for).
    """
    language = for_task(language, spec.task)
    draw = (_DrawBoth if spec.task == "recognition" else _Draw)(language, spec.seed)

    def validation(split: str, window: Window) -> Dataset:
        return encode(language, draw.distinct("validation", split, window, spec.validation_strings))

    def test(window: Window) -> Dataset:
        reaching = _reaching(language, window)
        return encode(language, draw.distinct("test", f"test {window}", reaching, spec.test_strings))

    return Splits(
        train=encode(language, draw.repeated("train", spec.train_lengths, spec.train_strings)),
        bin0=validation("bin0", spec.train_lengths),
        bin1=validation("bin1", spec.longer_lengths),
        tests=Tests(spec.test_lengths, test),
    )


def _reaching(language: Language, window: Window) -> Window:
    """The window, made longer until it holds an admissible length."""
    low, high = window
    longest = 2 * high + 64
    for reach in range(high, longest + 1):
        if language.lengths(low, reach):
            return low, reach
    raise UserError(f"{language.name} has no word of length {low} to {longest}; choose other test lengths")


class _Draw:
    """Draws sets of one language and seed."""

    def __init__(self, language: Language, seed: int) -> None:
        self.language = language
        self.name = language.name
        self.seed = seed

    def generator(self, split: str) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.seed, *f"{self.name}/{split}".encode()]))

    def repeated(self, split: str, window: Window, number: int) -> list[str]:
        """Strings of the split's own pool, all of them again and again where they are too few."""
        strings = self.distinct(split, split, window, number)
        return strings if len(strings) == number else self.shuffled(split, _again(strings, number))

    def shuffled(self, split: str, strings: list[str]) -> list[str]:
        order = self.generator(f"{split}/order").permutation(len(strings))
        return [strings[place] for place in order]

    def distinct(self, pool: str, split: str, window: Window, number: int) -> list[str]:
        """At most `number` strings of a pool, as many of each length as it has, in random order."""
        low, high = window
        lengths = self.language.lengths(low, high)
        if not lengths:
            raise UserError(f"{self.name} has no word of length {low} to {high}; choose other lengths")
        enough = any(self.language.count(length) > 1 for length in lengths)
        bounds = POOLS[pool] if enough else (0.0, 1.0)
        generator, strings = self.generator(split), list[str]()
        for place, length in enumerate(lengths):
            left = len(lengths) - place
            share, rest = divmod(number - len(strings), left)
            share += int(generator.integers(left) < rest)  # on the average every length has the same share
            strings += self.of_length(length, share, bounds, generator)
        if not strings:
            raise UserError(
                f"{self.name} has too few words of length {low} to {high} for a {split} set of its own; "
                f"choose a wider range of lengths"
            )
        return self.shuffled(split, strings)

    def of_length(
        self, length: int, number: int, bounds: tuple[float, float], generator: np.random.Generator
    ) -> list[str]:
        """At most `number` distinct strings of one length that belong to the pool with these bounds."""
        low, high = bounds
        count = self.language.count(length)
        wanted = int(number / (high - low))  # on the average so many strings hold `number` of the pool's
        seen: dict[str, bool] = {}  # whether the string is the pool's
        kept = drawn = 0
        while kept < number and len(seen) < count and drawn < DRAWS_A_STRING * min(count, 2 * wanted + 64):
            batch = min(2 * count, 64 + wanted - int(kept / (high - low)))
            for string in self.language.sample([length] * batch, generator):
                if string not in seen:
                    seen[string] = low <= self.place(string) < high
                    kept += seen[string]
            drawn += batch
        return [string for string, own in seen.items() if own][:number]

    def place(self, string: str) -> float:
        """Where in [0, 1) the string's hash lies."""
        digest = blake2b(f"{self.seed}/{self.name}/{string}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / 2**48


class _DrawBoth(_Draw):
    """Draws sets of which half are words, and half are none."""

    def repeated(self, split: str, window: Window, number: int) -> list[str]:
        words = super().distinct(split, split, _askable(window), number - number // 2)
        no_words = self.no_words(split, split, window, number // 2)
        return self.shuffled(split, _again(words, number - number // 2) + _again(no_words, number // 2))

    def distinct(self, pool: str, split: str, window: Window, number: int) -> list[str]:
        words = super().distinct(pool, split, _askable(window), number - number // 2)
        return self.shuffled(split, words + self.no_words(pool, split, window, min(number // 2, len(words))))

    def no_words(self, pool: str, split: str, window: Window, number: int) -> list[str]:
        """At most `number` distinct strings of a pool that are no words, of the lengths near which there are words."""
        window = _askable(window)
        lengths, there = self.language.lengths(*window), self.others(window)
        if not any(there.values()):
            window = window[0] - 1, window[1] + 1
            there = self.others(window)
        low, high = POOLS[pool] if any(many > 1 for many in there.values()) else (0.0, 1.0)
        wanted = int(number / (high - low))
        most = DRAWS_A_STRING * min(sum(there.values()), 2 * wanted + 64)
        generator, found, drawn = self.generator(f"{split}/no words"), dict[str, None](), 0
        while len(found) < min(number, sum(there.values())) and drawn < most:
            batch = generator.choice(lengths, 64 + wanted).tolist()
            for string in non_words(self.language, batch, generator):
                if len(string) in there and low <= self.place(string) < high:
                    found[string] = None
            drawn += len(batch)
        if number and not found:
            raise UserError(
                f"{self.name} has too few strings of length {window[0]} to {window[1]} that are no words for a {split} "
                f"set of its own; choose a wider range of lengths"
            )
        return list(found)[:number]

    def others(self, window: Window) -> dict[int, int]:
        """By length, how many strings of the window are no words."""
        return {length: count_others(self.language, length) for length in range(window[0], window[1] + 1)}


def _again(strings: list[str], number: int) -> list[str]:
    """So many strings: all of them again and again, the last time only the first."""
    return [strings[place % len(strings)] for place in range(number)]


def _askable(window: Window) -> Window:
    """The window without the empty string, which has no position to ask at."""
    return max(window[0], 1), max(window[1], 1)
