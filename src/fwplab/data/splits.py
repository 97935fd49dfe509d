"""Training, validation and test sets. They are disjoint if the language has enough strings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from fwplab.data.dataset import Dataset, encode
from fwplab.data.tasks import TASKS, Task, count_non_words, for_task, non_words
from fwplab.errors import UserError, shown
from fwplab.languages.language import LONGEST, Language

MOST_STRINGS = 10_000_000
"""The most strings of a set."""
Window = tuple[int, int]  # the lowest and the highest length, both included

# The hash of a string, scaled to [0, 1), determines its pool. Sets from different pools are therefore disjoint,
# whatever their sizes are. The values are the bounds of each pool.
POOLS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
DRAWS_A_STRING = 20  # draws per string before we give up: by then each string has come up but for a probability of 2e-9


@dataclass(frozen=True)
class SplitSpec:
    """The sizes of the sets and the lengths of their strings.

    Two validation sets serve for selection: bin0 has the lengths of the training set, bin1 longer ones. The test sets
    are not used for selection, and share no string with the bins if the language has enough strings. `seed` determines
    every string. With the task "recognition" half of the strings are words.
    """

    train_lengths: Window = (2, 50)
    """Lowest and highest length of the training strings and of Bin0."""
    longer_lengths: Window = (51, 100)
    """Lowest and highest length of Bin1."""
    train_strings: int = 10_000
    """Number of strings in the training set."""
    validation_strings: int = 2_000
    """Number of strings in each bin."""
    test_lengths: tuple[Window, ...] = ((2, 50), (51, 100), (101, 200), (201, 500), (1000, 1000))
    """Lowest and highest length of each test set."""
    test_strings: int = 1_000
    """Number of strings in each test set."""
    seed: int = 0
    """Seed of all random strings."""
    task: Task = "transduction"
    """A label at every position (transduction), or one label: whether the string is a word (recognition)."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UserError(f"unknown task {self.task!r}; choose from: {', '.join(TASKS)}")
        for low, high in (self.train_lengths, self.longer_lengths, *self.test_lengths):
            if not 0 <= low <= high:
                raise UserError(f"lengths {low} to {high}: choose 0 <= low <= high")
        longest = max(high for _, high in (self.train_lengths, self.longer_lengths, *self.test_lengths))
        for number in (self.train_strings, self.validation_strings, self.test_strings):
            if not 1 <= number <= MOST_STRINGS:
                raise UserError(f"a split of {shown(number)} strings: choose from 1 to {MOST_STRINGS:,}")
        if longest > LONGEST:
            raise UserError(f"a string has at most {LONGEST:,} symbols, not {shown(longest)}")
        if self.seed < 0:
            raise UserError(f"seed {self.seed}: choose 0 or more")


@dataclass(frozen=True)
class SplitSummary:
    """The numbers of strings of a split, and their lengths.

    - `split`: its name.
    - `shortest`, `longest`: the lengths of its strings; in the record of a run, the bounds of its window.
    - `strings`: the number of strings.
    - `distinct`: the number of distinct strings.
    - `in_train`: the number of distinct strings that are in the training set too. In the record of a run on an imported
      corpus, for a test set: that are in any part of the corpus.
    """

    split: str
    shortest: int
    longest: int
    strings: int
    distinct: int
    in_train: int


class Tests(Mapping[Window, Dataset]):
    """The test sets by their window of lengths. Each is drawn at its first use, because few runs need them all."""

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
    """The sets of a `SplitSpec`. `tests`: the test sets by their window of lengths."""

    train: Dataset
    bin0: Dataset
    bin1: Dataset
    tests: Mapping[Window, Dataset]

    def named(self) -> dict[str, Dataset]:
        """All sets by name: train, bin0, bin1, test_2_50, ..."""
        tests = {f"test_{low}_{high}": test for (low, high), test in self.tests.items()}
        return {"train": self.train, "bin0": self.bin0, "bin1": self.bin1, **tests}

    def summary(self) -> list[SplitSummary]:
        """The summary of every set."""
        return [summarise(name, data.strings, self.train.strings) for name, data in self.named().items()]


def summarise(split: str, strings: Sequence[str], train: Sequence[str], lengths: Window | None = None) -> SplitSummary:
    """The summary of one set. `train`: the training strings. `lengths`: the default is those of the strings."""
    distinct = set(strings)
    own = [len(string) for string in distinct] or [0]
    shortest, longest = lengths or (min(own), max(own))
    return SplitSummary(split, shortest, longest, len(strings), len(distinct), len(distinct & set(train)))


def make_splits(language: Language, spec: SplitSpec) -> Splits:
    """Draws all sets of `spec`. Each has its own random generator and does not depend on the sizes of the others.

    - The strings of a set are distinct. Every length of the window that has words gets the same number of them.
    - Training, validation and test strings come from three disjoint pools.
    - A length with too few strings contributes all that are in the pool. Longer strings make up the rest.
    - If the whole window has too few strings, the training set repeats them. Validation and test sets are smaller.
    - If no length of the window has two strings (unary and counter languages), the sets cannot be disjoint. Each then
      uses all strings. `Splits.summary` reports the overlap.
    - A test window without words is extended to the next length that has one.

    For the task "recognition" half of the strings are words, drawn like this. The others are drawn by `non_words`. They
    are distinct and come from the same pool and window. If there are few words, a validation or test set has equally
    few other strings. If every string of the window is a word, the others come from the adjacent lengths.

    Raises `UserError` if a set would be empty. For a test set this happens at its first use.
    """
    language = for_task(language, spec.task)
    draw = (_RecognitionSampler if spec.task == "recognition" else _Sampler)(language, spec.seed)

    def validation(split: str, window: Window) -> Dataset:
        return encode(language, draw.distinct("validation", split, window, spec.validation_strings))

    def test(window: Window) -> Dataset:
        extended = _extended(language, window)
        return encode(language, draw.distinct("test", f"test {window}", extended, spec.test_strings))

    return Splits(
        train=encode(language, draw.repeated("train", spec.train_lengths, spec.train_strings)),
        bin0=validation("bin0", spec.train_lengths),
        bin1=validation("bin1", spec.longer_lengths),
        tests=Tests(spec.test_lengths, test),
    )


def _extended(language: Language, window: Window) -> Window:
    """The window, extended until it contains a length that has words."""
    low, high = window
    longest = 2 * high + 64
    for reach in range(high, longest + 1):
        if language.lengths(low, reach):
            return low, reach
    raise UserError(f"{language.name} has no word of length {low} to {longest}; choose other test lengths")


class _Sampler:
    """Draws the sets of words of one language and seed."""

    def __init__(self, language: Language, seed: int) -> None:
        self.language = language
        self.name = language.name
        self.seed = seed

    def generator(self, split: str) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.seed, *f"{self.name}/{split}".encode()]))

    def repeated(self, split: str, window: Window, number: int) -> list[str]:
        """Exactly `number` strings of the split's own pool, repeated if there are too few."""
        strings = self.distinct(split, split, window, number)
        return strings if len(strings) == number else self.shuffled(split, _repeated(strings, number))

    def shuffled(self, split: str, strings: list[str]) -> list[str]:
        order = self.generator(f"{split}/order").permutation(len(strings))
        return [strings[place] for place in order]

    def distinct(self, pool: str, split: str, window: Window, number: int) -> list[str]:
        """At most `number` distinct words of a pool, equally many of each length, in random order."""
        low, high = window
        lengths = self.language.lengths(low, high)
        if not lengths:
            raise UserError(f"{self.name} has no word of length {low} to {high}; choose other lengths")
        disjoint = any(self.language.count(length) > 1 for length in lengths)
        bounds = POOLS[pool] if disjoint else (0.0, 1.0)
        generator, strings = self.generator(split), list[str]()
        for place, length in enumerate(lengths):
            left = len(lengths) - place
            share, rest = divmod(number - len(strings), left)
            share += int(generator.integers(left) < rest)  # every length has the same expected share
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
        """At most `number` distinct words of one length from the pool with these bounds."""
        low, high = bounds
        count = self.language.count(length)
        wanted = int(number / (high - low))  # this many strings contain, on average, `number` of the pool
        seen: dict[str, bool] = {}  # whether the string belongs to the pool
        kept = drawn = 0
        while kept < number and len(seen) < count and drawn < DRAWS_A_STRING * min(count, 2 * wanted + 64):
            batch = min(2 * count, 64 + wanted - int(kept / (high - low)))
            for string in self.language.sample([length] * batch, generator):
                if string not in seen:
                    seen[string] = low <= self.hash_of(string) < high
                    kept += seen[string]
            drawn += batch
        return [string for string, own in seen.items() if own][:number]

    def hash_of(self, string: str) -> float:
        """The hash of the string, scaled to [0, 1)."""
        digest = blake2b(f"{self.seed}/{self.name}/{string}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / 2**48


class _RecognitionSampler(_Sampler):
    """Draws sets in which half of the strings are words of the language."""

    def repeated(self, split: str, window: Window, number: int) -> list[str]:
        words = super().distinct(split, split, _nonempty(window), number - number // 2)
        no_words = self.no_words(split, split, window, number // 2)
        return self.shuffled(split, _repeated(words, number - number // 2) + _repeated(no_words, number // 2))

    def distinct(self, pool: str, split: str, window: Window, number: int) -> list[str]:
        words = super().distinct(pool, split, _nonempty(window), number - number // 2)
        return self.shuffled(split, words + self.no_words(pool, split, window, min(number // 2, len(words))))

    def no_words(self, pool: str, split: str, window: Window, number: int) -> list[str]:
        """At most `number` distinct strings of a pool that are no words, with lengths near those of words."""
        window = _nonempty(window)
        lengths, counts = self.language.lengths(*window), self.count_non_words(window)
        if not any(counts.values()):
            window = window[0] - 1, window[1] + 1
            counts = self.count_non_words(window)
        low, high = POOLS[pool] if any(many > 1 for many in counts.values()) else (0.0, 1.0)
        wanted = int(number / (high - low))
        limit = DRAWS_A_STRING * min(sum(counts.values()), 2 * wanted + 64)
        generator, found, drawn = self.generator(f"{split}/no words"), dict[str, None](), 0
        while len(found) < min(number, sum(counts.values())) and drawn < limit:
            batch = generator.choice(lengths, 64 + wanted).tolist()
            for string in non_words(self.language, batch, generator):
                if len(string) in counts and low <= self.hash_of(string) < high:
                    found[string] = None
            drawn += len(batch)
        if number and not found:
            raise UserError(
                f"{self.name} has too few strings of length {window[0]} to {window[1]} that are no words for a {split} "
                f"set of its own; choose a wider range of lengths"
            )
        return list(found)[:number]

    def count_non_words(self, window: Window) -> dict[int, int]:
        """The number of strings that are no words, for each length of the window."""
        return {length: count_non_words(self.language, length) for length in range(window[0], window[1] + 1)}


def _repeated(strings: list[str], number: int) -> list[str]:
    """`number` strings: `strings`, repeated cyclically."""
    return [strings[place % len(strings)] for place in range(number)]


def _nonempty(window: Window) -> Window:
    """The window without the empty string, which has no position for a label."""
    return max(window[0], 1), max(window[1], 1)
