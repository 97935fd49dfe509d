"""The commands that are disturbed, small enough to take a few seconds."""

import random

from tests.faults.trial import TRIALS, Work

STRINGS = ("--train-strings", "64", "--validation-strings", "20", "--test-strings", "2")
SMALL = (*STRINGS, "--hidden", "8", "--layers", "1", "--heads", "2")
SMALL += ("--batch-size", "16", "--max-steps", "40", "--check-every", "10")
SEARCH = ("search", "--language", "parity", "--strings", "320", "--members", "1", "--hidden", "8", "--layers", "1")
SEARCH += ("--head-width", "4", "--batch-size", "16", "--trials", str(TRIALS))
STUDY = ("study", "run", "small-runs", "--own", "--workers")
EXPORT = ("corpus", "export", "corpus", "--language", "parity", *STRINGS)


MIXERS = ("lstm", "transformer", "delta-net", "recurrent-delta", "srwm")
"""Mixers that are trained in different ways: in PyTorch, stacked, and by kernels with one and with two states."""


def train(draw: random.Random) -> Work:
    """The training of two seeds in one process, or of three in two."""
    return training(draw.choice(MIXERS), *draw.choice(((2, 1), (3, 2))))


def training(mixer: str, seeds: int, workers: int) -> Work:
    """The training of a mixer."""
    words = ("train", "--language", "parity", "--mixer", mixer, "--seeds", str(seeds), "--workers", str(workers))
    return Work((*words, *SMALL))


def study(draw: random.Random) -> Work:
    """A study of two runs with two seeds each."""
    return Work((*STUDY, str(draw.choice((1, 2)))))


def search(draw: random.Random) -> Work:
    """A search of three trials. What it tries depends on which worker is faster."""
    words = (*SEARCH, "--mixer", draw.choice(("lstm", "delta-net")), "--workers", str(draw.choice((1, 2))))
    return Work(words, comparable=False)


def corpus_export(draw: random.Random) -> Work:
    """A corpus, in one of the two formats."""
    return Work((*EXPORT, "--format", draw.choice(("bhattamishra", "irie"))), new="corpus")


def corpus_import(draw: random.Random) -> Work:
    """The import of a corpus."""
    return Work(("corpus", "import", "corpus", "--language", "parity", "--name", "mine"), (EXPORT,))


def report(draw: random.Random) -> Work:
    """The report of the small study."""
    return Work(("report", "small-runs", "--own", "--out", "report.html"), ((*STUDY, "1"),))


def export(draw: random.Random) -> Work:
    """The records of the small study as an archive, or its scores as a table."""
    form, out = draw.choice((("records", "archive"), ("csv", "scores.csv"), ("parquet", "scores.parquet")))
    return Work(("study", "export", "small-runs", "--own", "--format", form, "--out", out), ((*STUDY, "1"),))


WORKS = (train, train, train, train, study, study, search, corpus_export, corpus_import, report, export)
"""The commands, the longer ones more often."""
