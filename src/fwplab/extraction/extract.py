"""A checkpoint's machine beside the true one, with what it took to find it and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from fwplab.errors import UserError
from fwplab.evaluate import first_errors
from fwplab.extraction.agreement import Agreement, compare
from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.mealy import Integers, Mealy, mealy_of
from fwplab.languages import Language
from fwplab.languages.dataset import encode
from fwplab.model import Model

Method = Literal["lstar", "kv", "states"]
METHODS: tuple[Method, ...] = ("lstar", "kv", "states")
LENGTHS = (20, 50, 100, 200, 500)
WORDS = 200


@dataclass(frozen=True, eq=False)
class Extraction:
    """What was found. `finite`: the language has no more states than those looked at, so that `true` is all of it.

    `complete`: no tested word tells `machine` and model apart. `equivalent`: so it is, and `machine` and `true` do the
    same wherever something is asked; `witness` is the shortest word on which they do not. `kept`, where the language is
    not finite: all those held-out words are labelled right that stay within so many moves of the start, -1 where not
    even those that stay there; None where all are.
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
    """The machine that `model` is, on words whose states lie at most `depth` moves from the start.

    `lstar` and `kv` learn it from the model's answers, `states` clusters its states; `most` bounds its size. Where the
    language has finitely many states, no more than `most`, all of them are asked about, whatever the depth.
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
    examples = words_of(language, list(range(2, 51)), 400, generator)
    if method == "states":
        from fwplab.extraction.clusters import cluster  # scikit-learn is slow to import

        found = cluster(box, examples, most, generator)
        machine, complete = found.machine, found.complete
    else:
        from fwplab.extraction.learn import learn

        machine, complete = learn(box, examples, method, most, generator)
    queries = box.queries
    witness = machine.difference(true)
    held_out = [(n, words_of(language, [n], WORDS, generator)) for n in lengths]
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
    """What was found, in a sentence or two."""
    states = f"{len(found.machine)} states against {len(found.true)} of the language"
    if not found.complete:
        return f"no machine of so few states explains the model; the largest tried has {states}"
    bound = "" if found.finite else " as far as was asked"
    if found.equivalent:
        return f"equivalent to the language{bound}: {states}"
    return f"not the language: {states}, the shortest word on which they differ is {found.witness}"


def reach(kept: int) -> str:
    """What `kept` means, in a sentence."""
    if kept < 0:
        return "some held-out words are labelled wrong without leaving the start"
    return f"held-out words that stay within {kept} moves of the start are all labelled right by the model"


def words_of(language: Language, lengths: Sequence[int], number: int, generator: np.random.Generator) -> Integers:
    """So many words of these lengths, or the next shorter ones that the language has, as padded symbol indices."""
    there = sorted({found[-1] for n in lengths if (found := language.lengths(max(1, n - 10), n))})
    if not there:
        return np.empty((0, 0), dtype=np.int64)
    return encode(language, language.sample(generator.choice(there, number).tolist(), generator)).tokens


def _kept(model: Model, language: Language, batches: Sequence[Integers]) -> int | None:
    """One move less than the shortest excursion from the start on which a word had its first wrong label."""
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
