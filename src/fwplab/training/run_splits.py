"""The strings that a run is trained and evaluated on."""

from functools import lru_cache

from fwplab.data.dataset import Dataset
from fwplab.data.imported import corpus_splits
from fwplab.data.splits import Splits, SplitSpec, SplitSummary, make_splits, summarise
from fwplab.languages import LANGUAGES, load_language
from fwplab.plugins.check_language import check as check_language
from fwplab.plugins.fingerprint import fingerprint
from fwplab.training.run import Protocol, Run

SplitKey = tuple[str, int, int]
"""The name of a split, and its shortest and longest length."""


def load_splits(run: Run) -> Splits:
    """The strings that a run is trained and evaluated on."""
    return _splits(run.language, run.corpus, run.protocol.splits)


@lru_cache(maxsize=len(LANGUAGES.names()))  # a worker process trains many seeds on the same splits
def _splits(name: str, corpus: str | None, spec: SplitSpec) -> Splits:
    language = load_language(name)
    if fingerprint(type(language)):
        check_language(language)
    return corpus_splits(corpus, language, spec) if corpus else make_splits(language, spec)


def named_splits(splits: Splits) -> list[tuple[SplitKey, Dataset]]:
    """The splits on which the selected checkpoints are evaluated."""
    bins = [((name, *_range(data)), data) for name, data in (("bin0", splits.bin0), ("bin1", splits.bin1))]
    return bins + [(("test", *lengths), data) for lengths, data in splits.tests.items()]


def oracle_splits(protocol: Protocol, splits: Splits) -> list[Dataset]:
    """The test strings by which the rule "oracle" selects: those of Bin1's lengths, or else the first test set."""
    tests = splits.tests
    if not protocol.oracle or not tests:
        return []
    return [tests[protocol.splits.longer_lengths if protocol.splits.longer_lengths in tests else next(iter(tests))]]


def _range(data: Dataset) -> tuple[int, int]:
    return int(data.lengths.min()), int(data.lengths.max())


def train_split(splits: Splits) -> list[tuple[SplitKey, Dataset]]:
    """The training strings, in the form of `named_splits`."""
    return [(("train", *_range(splits.train)), splits.train)]


def summaries(run: Run, splits: Splits) -> tuple[SplitSummary, ...]:
    """The numbers of strings of all splits of a run, and how many of them are in the training set.

    Beside an imported corpus, which shares no rule of drawing with the generated test strings, the test strings are
    compared with all strings of the corpus.
    """
    train = splits.train.strings
    of_test = (*train, *splits.bin0.strings, *splits.bin1.strings) if run.corpus else train
    return tuple(
        summarise(name, data.strings, of_test if name == "test" else train, (low, high))
        for (name, low, high), data in [*train_split(splits), *named_splits(splits)]
    )
