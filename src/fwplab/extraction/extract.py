"""Extracts a machine from a model, compares it with the language's own, and tests it on held-out words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from fwplab.data.dataset import encode
from fwplab.errors import UserError
from fwplab.extraction.agreement import LENGTHS, Agreement, compare
from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.mealy import Integers, Mealy, mealy_of
from fwplab.languages import Language
from fwplab.model.model import Model
from fwplab.training.evaluate import first_errors

Method = Literal["lstar", "kv", "states"]
METHODS: tuple[Method, ...] = ("lstar", "kv", "states")
WORDS = 200
"""The number of held-out words of each length."""


@dataclass(frozen=True, eq=False)
class Extraction:
    """The result of `extract`.

    - `method`: the method that was used.
    - `machine`: the extracted machine.
    - `true`: the language's own machine, up to the depth limit.
    - `finite`: whether `true` contains all states of the language.
    - `complete`: whether no difference between `machine` and the model was found.
    - `equivalent`: whether this holds, and `machine` and `true` have the same outputs wherever a label is defined.
    - `witness`: a shortest word on which `machine` and `true` differ, if any.
    - `queries`: the number of words that the model has read.
    - `kept`: the largest d such that the model labels all held-out words right that stay within d moves of the start.
      It is -1 if it mislabels words that never leave the start, and None if it labels all words right or `finite`
      holds.
    - `fidelity`: the results on held-out words, one entry for each length.
    """

    method: Method
    machine: Mealy
    true: Mealy
    finite: bool
    complete: bool
    equivalent: bool
    witness: str | None
    queries: int
    kept: int | None
    fidelity: tuple[Agreement, ...]


def extract(
    model: Model,
    language: Language,
    *,
    method: Method = "lstar",
    depth: int = 8,
    most: int = 60,
    lengths: Sequence[int] = LENGTHS,
    seed: int = 0,
) -> Extraction:
    """Extracts the machine of `model` on words whose states are at most `depth` moves from the start.

    method: "lstar" and "kv" learn the machine from the model's labels. "states" clusters the model's states.
    depth: the depth limit. It does not apply to a language with at most `most` states.
    most: the largest number of states of the machine.
    lengths: the lengths of the held-out words.
    seed: seeds all random choices.

    Raises `UserError` for an unknown method, and for numbers out of range.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; choose from: {', '.join(METHODS)}")
    if depth < 1 or most < 1:
        raise UserError(f"depth and most are positive whole numbers, not {depth} and {most}")
    if seed < 0 or min(lengths, default=1) < 1:
        raise UserError(f"the seed is not negative and lengths are positive, not {seed} and {tuple(lengths)}")
    generator = np.random.default_rng(seed)
    finite = language.machine(most) is not None
    true = mealy_of(language, most if finite else depth)
    box = BlackBox(model, true)
    examples = sample_words(language, list(range(2, 51)), 400, generator)
    if method == "states":
        from fwplab.extraction.clusters import cluster  # scikit-learn is slow to import

        found = cluster(box, examples, most, generator)
        machine, complete = found.machine, found.complete
    else:
        from fwplab.extraction.learn import learn

        machine, complete = learn(box, examples, method, most, generator)
    queries = box.queries
    witness = machine.difference(true)
    held_out = [(n, sample_words(language, [n], WORDS, generator)) for n in lengths]
    symbols = len(language.symbols)
    fidelity = tuple(
        compare(n, box.labels(words), machine.run(words), true.run(words), int((words < symbols).sum()))
        for n, words in held_out
        if len(words)
    )
    equivalent = complete and witness is None
    kept = None if finite else _kept(model, language, [words for _, words in held_out])
    return Extraction(method, machine, true, finite, complete, equivalent, witness, queries, kept, fidelity)


def verdict(found: Extraction) -> str:
    """Describes the result in a sentence or two."""
    states = f"{len(found.machine)} states against {len(found.true)} of the language"
    if not found.complete:
        return f"no machine within the size limit gives the model's labels; the largest tried has {states}"
    bound = "" if found.finite else " within the depth limit"
    if found.equivalent:
        return f"equivalent to the language{bound}: {states}"
    return f"not the language: {states}, the shortest word on which they differ is {found.witness}"


def describe_kept(kept: int) -> str:
    """Describes `Extraction.kept` in a sentence."""
    if kept < 0:
        return "some held-out words are labelled wrong although they never leave the start"
    return f"held-out words that stay within {kept} moves of the start are all labelled right by the model"


def sample_words(language: Language, lengths: Sequence[int], number: int, generator: np.random.Generator) -> Integers:
    """Random words as padded token ids, `[number, time]`.

    For a length that the language does not have, the next shorter one is used, if it is at most 10 symbols shorter.
    """
    there = sorted({found[-1] for n in lengths if (found := language.lengths(max(1, n - 10), n))})
    if not there:
        return np.empty((0, 0), dtype=np.int64)
    return encode(language, language.sample(generator.choice(there, number).tolist(), generator)).tokens


def _kept(model: Model, language: Language, batches: Sequence[Integers]) -> int | None:
    """The value of `Extraction.kept`: one less than the smallest depth at which a word gets its first wrong label."""
    paths: list[set[object]] = []
    for tokens in batches:
        inside = tokens < len(language.symbols)
        words = ["".join(language.symbols[t] for t in row[keep]) for row, keep in zip(tokens, inside, strict=True)]
        for word, error in zip(words, first_errors(model, encode(language, words)), strict=True):
            if error is not None:
                paths.append(set(accumulate(word[: error + 1], language.step, initial=language.start)))
    seen, ring, depth = {language.start}, [language.start], 0
    while paths and not any(path <= seen for path in paths):
        ring = list(dict.fromkeys(language.step(state, symbol) for state in ring for symbol in language.symbols))
        ring = [state for state in ring if state not in seen and language.following(state)]
        seen.update(ring)
        depth += 1
    return depth - 1 if paths else None
