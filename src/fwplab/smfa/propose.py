"""Extracts a self-modifying automaton from a trained model: fits it to short words, and tests it on longer ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from fwplab.errors import UserError
from fwplab.extraction.agreement import LENGTHS, Agreement, compare
from fwplab.extraction.black_box import predict
from fwplab.extraction.extract import sample_words
from fwplab.extraction.mealy import UNDEFINED
from fwplab.languages import Language
from fwplab.model.model import Model
from fwplab.smfa.answers import SOURCES, Source, answers_of, programs_of
from fwplab.smfa.chain import Chain
from fwplab.smfa.fit import Fit, fit
from fwplab.smfa.weights import Reading, read_off

WORDS, READ = 200, 60
"""The number of held-out words of each length, and of words whose states are read."""
PAIRS = 3_000
"""The most pairs of a language state and a machine state that `difference` compares."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """The result of `propose`.

    - `source`: what the machine was fitted to.
    - `fit`: the machine, or how the search for it ended.
    - `words`, `longest`: the number and the largest length of the words that it was fitted to.
    - `programs`: the number of clusters of the model's states; None if the source is "answers".
    - `faithful`: whether the automaton of the clusters gives all the model's labels.
    - `witness`: a shortest word after which machine and language differ; None if no difference was found.
    - `reading`: what is read off the model's state; None without a machine, or if there is no state to read from.
    - `agreement`: the results on held-out words, one entry for each length.
    - `seconds`: the time that it took.
    """

    source: Source
    fit: Fit
    words: int
    longest: int
    programs: int | None
    faithful: bool
    witness: str | None
    reading: Reading | None
    agreement: tuple[Agreement, ...]
    seconds: float


def propose(
    model: Model,
    language: Language,
    *,
    source: Source = "answers",
    longest: int = 16,
    most_words: int = 3_000,
    most_rows: int = 8,
    most_steps: int = 1_000_000,
    lengths: Sequence[int] = LENGTHS,
    seed: int = 0,
) -> Proposal:
    """Fits the smallest chain machine to the labels that `model` gives on short words, and tests it.

    A chain machine is a finite control with one counter (see `Chain`). The tests use longer words, the language's own
    states, and a linear readout of the model's state.

    source: "answers" takes the labels from the model. "weights" clusters the model's states and takes the labels from
        the automaton of the clusters (see `programs_of`).
    longest, most_words: the machine is fitted to at most `most_words` prefixes of words, of at most `longest` symbols.
        Shorter ones come first. Only prefixes of words are used, because the model was trained on these.
    most_rows, most_steps: the limits of the search (see `fit`).
    lengths: the lengths of the held-out words; words longer than `longest` are not used in the fit.
    seed: seeds all random choices.

    Raises `UserError` for an unknown source, and for numbers out of range.
    """
    if source not in SOURCES:
        raise UserError(f"unknown source {source!r}; choose from: {', '.join(SOURCES)}")
    if min(longest, most_words, most_rows, most_steps) < 1:
        raise UserError("longest, words, rows and steps are positive whole numbers")
    if seed < 0 or min(lengths, default=1) < 1:
        raise UserError(f"the seed is not negative and lengths are positive, not {seed} and {tuple(lengths)}")
    begun, generator = perf_counter(), np.random.default_rng(seed)
    model.eval()
    programs, faithful = None, True
    if source == "weights":
        answers, programs, faithful = programs_of(model, language, longest, most_words, generator)
    else:
        answers = answers_of(model, language, longest, most_words)
    found = fit(answers, most_rows, most_steps)
    witness, reading, agreement = None, None, list[Agreement]()
    if found.chain is not None:
        witness = difference(language, found.chain)
        batches = [(length, _words(language, [length], WORDS, generator)) for length in lengths]
        agreement = [_agreement(model, language, found.chain, *batch) for batch in batches if batch[1]]
        words = _words(language, list(range(2, 51)), READ, generator)
        reading = read_off(model, language, found.chain, words, generator)
    facts = len(answers), answers.longest, programs, faithful, witness, reading, tuple(agreement)
    return Proposal(source, found, *facts, perf_counter() - begun)


def difference(language: Language, chain: Chain, most: int = PAIRS) -> str | None:
    """A shortest prefix of a word after which the machine's output is not the language's label.

    Words that lead to the same states of both are compared once. None if the first `most` pairs of states do not
    differ.
    """
    start = (language.start, (0, 0))
    words = {start: ""}
    waiting = [start]
    for state, (control, depth) in waiting:
        for symbol in language.symbols:
            after = language.step(state, symbol)
            label, word = language.label(after), words[state, (control, depth)] + symbol
            if label is None or not language.following(after):
                continue
            place = chain.step(control, depth, symbol)
            if place is None or chain.output(place) != label:
                return word
            if (after, place) not in words and len(words) < most:
                words[after, place] = word
                waiting.append((after, place))
    return None


def verdict(found: Proposal) -> str:
    """Describes the result in a sentence or two."""
    who = "the model"
    if found.programs is not None:
        who = f"{found.programs} programs, which {'give' if found.faithful else 'do not give'} the model's answers,"
    asked = f"the {found.words:,} answers of {who} to words of up to {found.longest} symbols"
    chain, rows = found.fit.chain, found.fit.rows
    if chain is None:
        if found.fit.exhausted:
            return f"no chain machine of up to {rows} rows gives {asked}"
        return f"none found: no machine with fewer than {rows} rows gives {asked}; the search ran out of steps"
    states = f"{chain.controls} control state{'s' if chain.controls > 1 else ''}"
    kind = f"{states} and a chain" if chain.counts else f"{states} and no chain, a finite automaton,"
    if found.witness is None:
        return f"{kind} give {asked}; no difference from the language was found"
    return f"{kind} give {asked}; they differ from the language after {found.witness}"


def _words(language: Language, lengths: Sequence[int], number: int, generator: np.random.Generator) -> list[str]:
    """The distinct words among `number` random words of these lengths."""
    tokens = sample_words(language, lengths, number, generator)
    words = ["".join(language.symbols[index] for index in row if index < len(language.symbols)) for row in tokens]
    return list(dict.fromkeys(words))


def _agreement(model: Model, language: Language, chain: Chain, length: int, words: list[str]) -> Agreement:
    index = {name: number for number, name in enumerate(language.classes)}
    tokens = np.array([[language.symbols.index(symbol) for symbol in word] for word in words], dtype=np.int64)
    meant = np.array([[index[label] for label in language.labels(word)] for word in words])
    guessed = np.array([[index.get(output or "", UNDEFINED) for output in chain.run(word)] for word in words])
    return compare(length, predict(model, tokens, len(language.symbols)), guessed, meant, tokens.size)
