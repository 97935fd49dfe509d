"""The self-modifying automaton that a trained model may be, fitted to its answers and verified on longer words."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from fwplab.errors import UserError
from fwplab.extraction.agreement import Agreement, compare
from fwplab.extraction.black_box import predict
from fwplab.extraction.extract import words_of
from fwplab.extraction.mealy import UNDEFINED
from fwplab.languages import Language
from fwplab.model import Model
from fwplab.smfa.answers import SOURCES, Source, answers_of, programs_of
from fwplab.smfa.chain import Chain
from fwplab.smfa.fit import Fit, fit
from fwplab.smfa.weights import Reading, read_off

LENGTHS = (20, 50, 100, 200, 500)
WORDS, READ = 200, 60
PAIRS = 3_000
"""Pairs of a state of the language and a place of the machine that are compared."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What was found. `words`: how many the machine was fitted to, the longest of `longest` symbols. `programs`: of the
    source `weights`, how many clusters there are, and in `faithful` whether their machine says what the model says.

    `witness`: the first shortest word after which machine and language differ, None where none is among those looked
    at; `reading` is None where there is no machine, or no state to read it from.
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
    """The smallest chain machine that says what `model` says after the beginnings of words up to `longest` symbols.

    They are the `most_words` shortest at most. `answers` asks the model; `weights` clusters what it carries from one
    position to the next into programs first, and asks their machine. Nothing longer is fitted, so that words of the
    `lengths` are held out. A model is trained on words of the language, and asked about no others.
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
    """The first shortest beginning of a word after which the machine's output is not the language's label.

    Words that lead to the same states of both are looked at once; None where the first `most` pairs of states show no
    difference.
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
    """What was found, in a sentence or two."""
    who = "the model"
    if found.programs is not None:
        who = f"{found.programs} programs, which {'say' if found.faithful else 'do not say'} what the model says,"
    asked = f"the {found.words:,} answers of {who} to words of up to {found.longest} symbols"
    chain, rows = found.fit.chain, found.fit.rows
    if chain is None:
        if found.fit.exhausted:
            return f"no chain machine of up to {rows} rows gives {asked}"
        return (
            f"none found: of the machines with fewer than {rows} rows none gives {asked}; there the search was given up"
        )
    states = f"{chain.controls} control state{'s' if chain.controls > 1 else ''}"
    kind = f"{states} and a chain" if chain.counts else f"{states} and no chain, a finite automaton,"
    if found.witness is None:
        return f"{kind} give {asked}; as far as was compared that is the language"
    return f"{kind} give {asked}; not the language: they differ after {found.witness}"


def _words(language: Language, lengths: Sequence[int], number: int, generator: np.random.Generator) -> list[str]:
    """As many distinct words of these lengths as there are among so many random ones."""
    tokens = words_of(language, lengths, number, generator)
    words = ["".join(language.symbols[index] for index in row if index < len(language.symbols)) for row in tokens]
    return list(dict.fromkeys(words))


def _agreement(model: Model, language: Language, chain: Chain, length: int, words: list[str]) -> Agreement:
    index = {name: number for number, name in enumerate(language.classes)}
    tokens = np.array([[language.symbols.index(symbol) for symbol in word] for word in words], dtype=np.int64)
    meant = np.array([[index[label] for label in language.labels(word)] for word in words])
    guessed = np.array([[index.get(output or "", UNDEFINED) for output in chain.run(word)] for word in words])
    return compare(length, predict(model, tokens, len(language.symbols)), guessed, meant, tokens.size)
