"""`fwplab constructions`: weights set by hand, whether they do what they are to do, and what none can do."""

import inspect
import math
from dataclasses import asdict, dataclass

import torch
from rich.table import Table
from tyro.conf import Positional

from fwplab.cli.console import emit, listed
from fwplab.constructions import CONSTRUCTIONS, Construction
from fwplab.constructions.bounds import (
    LIMITS,
    agreement_bound,
    best_agreement,
    best_agreement_of_words,
    eigenvalue_range,
)
from fwplab.constructions.check import LONGEST, exhaustive, measure_break
from fwplab.errors import UserError
from fwplab.source import first_paragraph
from fwplab.tables.numbers import percent

MOST_SYMBOLS = 12
"""Of words that are all learned: 4,096 of them."""
PRECISIONS = (torch.float32, torch.float64, torch.bfloat16)


@dataclass(frozen=True)
class Facts:
    """A construction in a row; `breaks_at` is for float32, None for never."""

    name: str
    description: str
    width: int
    heads: int
    weights: int
    state_size: int
    breaks_at: int | None


def _facts(name: str) -> Facts:
    construction = CONSTRUCTIONS.load(name)()
    model, shape = construction.build(), construction.shape
    weights = sum(int(weight.count_nonzero()) for weight in model.parameters())
    description = first_paragraph(inspect.getdoc(type(construction)))
    breaks = _whole(construction.breaks_at(torch.float32))
    return Facts(name, description, shape.hidden, shape.heads, weights, model.state_size(), breaks)


def _whole(length: float) -> int | None:
    return None if math.isinf(length) else round(length)


def _said(length: int | None, otherwise: str) -> str:
    return otherwise if length is None else f"{length:,}" if length < 10**9 else f"{length:.1e}"


@dataclass(frozen=True)
class ListConstructions:
    """All constructions: how many of their weights are not zero, and the length at which float32 breaks them."""

    json: bool = False

    def __call__(self) -> int:
        facts = listed(CONSTRUCTIONS, _facts)
        table = Table("construction", "width", "heads", "weights", "state", "breaks at", "what it does", box=None)
        for fact in facts:
            numbers = map(str, (fact.width, fact.heads, fact.weights, fact.state_size))
            table.add_row(fact.name, *numbers, _said(fact.breaks_at, "never"), fact.description)
        emit([asdict(fact) for fact in facts], as_json=self.json, text=table)
        return 0


@dataclass(frozen=True)
class ShowConstruction:
    """One construction and its argument."""

    name: Positional[str]
    json: bool = False

    def __call__(self) -> int:
        kind = CONSTRUCTIONS.load(self.name)
        facts, made = _facts(CONSTRUCTIONS.name_of(kind)), kind()
        # What it does is said where it is named; the argument may stand with the class that it is a case of.
        told = [each for each in kind.__mro__ if issubclass(each, Construction) and each is not Construction]
        text = "\n\n".join(inspect.getdoc(each) or "" for each in told)
        answer = {**asdict(facts), "text": text, "mixer": str(made.mixer), "shape": str(made.shape)}
        emit(answer, as_json=self.json, text=f"{facts.name}\n\n{text}\n\n{made.mixer}\n{made.shape}")
        return 0


@dataclass(frozen=True)
class CheckConstruction:
    """All words up to a length, and the length at which precision breaks it, predicted and measured.

    Words that leave model and task in the same state are one situation; closed: longer words lead to no others.
    bfloat16, with its 8 bits, shows a break for which float32 would take millions of symbols.
    """

    name: Positional[str]
    exhaustive: int = 12
    longest: int = LONGEST
    json: bool = False

    def __call__(self) -> int:
        if min(self.exhaustive, self.longest) < 1:
            raise UserError("lengths must be 1 or more")
        construction = CONSTRUCTIONS.load(self.name)()
        words = f"words to {self.exhaustive}"
        table = Table("precision", words, "situations", "wrong", "breaks at: predicted", "measured", box=None)
        answers = []
        for dtype in PRECISIONS:
            found, name = exhaustive(construction, dtype, self.exhaustive), str(dtype).removeprefix("torch.")
            predicted = _whole(construction.breaks_at(dtype))
            seen = measure_break(construction, dtype, self.longest)
            answers.append({"precision": name, **asdict(found), "predicted": predicted, "measured": seen})
            table.add_row(
                name,
                f"{found.words:,}",
                f"{found.situations:,}{', closed' if found.closed else ''}",
                found.wrong or "none",
                _said(predicted, "never"),
                _said(seen, f"not to {self.longest:,}"),
            )
        emit(answers, as_json=self.json, text=table)
        return int(any(answer["wrong"] is not None for answer in answers))


@dataclass(frozen=True)
class Bounds:
    """Why some mixers cannot tell even from odd: the eigenvalues they reach, and how much of 1^n they get right."""

    heads: int = 2
    lengths: tuple[int, ...] = (5, 9, 17)
    words: tuple[int, ...] = ()
    """Lengths of which all words are learned by whole models too, of one and two layers; a minute each."""
    json: bool = False

    def __call__(self) -> int:
        if self.heads < 1 or min(self.lengths, default=0) < 1:
            raise UserError("heads and lengths must be 1 or more")
        if not all(1 <= length <= MOST_SYMBOLS for length in self.words):
            raise UserError(f"all words of a length are learned for lengths from 1 to {MOST_SYMBOLS}")
        columns = [f"1^{length}: bound, found" for length in self.lengths]
        columns += [f"words of {length}: 1, 2 layers" for length in self.words]
        table = Table("mixer", "eigenvalues: bound, reached", *columns, box=None)
        table.caption, table.caption_justify = "Labels of parity that are right, in percent.", "left"
        answers = []
        for name, limit in LIMITS.items():
            reached = eigenvalue_range(limit.mixer, heads=self.heads)
            shares = [
                (agreement_bound(limit.changes(self.heads), length), best_agreement(limit, length, heads=self.heads))
                for length in self.lengths
            ]
            eigenvalues = f"{limit.low:g} to {limit.high:g}, {reached[0]:.3f} to {reached[1]:.3f}"
            whole = [
                tuple(best_agreement_of_words(limit.mixer, n, layers=layers, heads=self.heads) for layers in (1, 2))
                for n in self.words
            ]
            pairs = (f"{percent(one)}, {percent(other)}" for one, other in [*shares, *whole])
            table.add_row(name, eigenvalues, *pairs)
            right = [
                {"length": length, "bound": bound, "found": found}
                for length, (bound, found) in zip(self.lengths, shares, strict=True)
            ]
            spoken = {"bound": (limit.low, limit.high), "reached": reached}
            learned = [
                {"length": length, "layers": layers, "found": found}
                for length, both in zip(self.words, whole, strict=True)
                for layers, found in enumerate(both, 1)
            ]
            answers.append({"mixer": name, "eigenvalues": spoken, "right": right, "words": learned})
        emit(answers, as_json=self.json, text=table)
        return 0
