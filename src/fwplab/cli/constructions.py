"""`fwplab constructions`: models with weights set by hand, their checks, and bounds on what any weights can do."""

import inspect
import math
from dataclasses import asdict, dataclass

from rich.table import Table
from tyro.conf import Positional

from fwplab.cli.console import emit, listed
from fwplab.constructions import CONSTRUCTIONS
from fwplab.errors import UserError
from fwplab.source import first_paragraph
from fwplab.tables.numbers import percent

MOST_SYMBOLS = 12
"""The largest length of which `bounds` learns all words, 4,096 words over two symbols."""
PRECISIONS = ("float32", "float64", "bfloat16")
LONGEST = 10_000
"""The default length of the longest words that are tested."""


@dataclass(frozen=True)
class Facts:
    """One row of the list of constructions."""

    name: str
    """Its name."""
    description: str
    """The first paragraph of its documentation."""
    width: int
    """The width of its layers."""
    heads: int
    """Its number of heads."""
    weights: int
    """The number of weights that are not zero."""
    state_size: int
    """The number of values in its state."""
    breaks_at: int | None
    """The length from which float32 gives wrong answers; None for never."""


def _facts(name: str) -> Facts:
    import torch

    construction = CONSTRUCTIONS.load(name)()
    model, shape = construction.build(), construction.shape
    weights = sum(int(weight.count_nonzero()) for weight in model.parameters())
    description = first_paragraph(inspect.getdoc(type(construction)))
    breaks = _finite_length(construction.breaks_at(torch.float32))
    return Facts(name, description, shape.hidden, shape.heads, weights, model.state_size(), breaks)


def _finite_length(length: float) -> int | None:
    return None if math.isinf(length) else round(length)


def _format_length(length: int | None, otherwise: str) -> str:
    return otherwise if length is None else f"{length:,}" if length < 10**9 else f"{length:.1e}"


@dataclass(frozen=True)
class ListConstructions:
    """Lists all constructions, with the number of their nonzero weights and the length from which float32 fails."""

    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        facts = listed(CONSTRUCTIONS, _facts)
        table = Table("construction", "width", "heads", "weights", "state", "breaks at", "what it does", box=None)
        for fact in facts:
            numbers = map(str, (fact.width, fact.heads, fact.weights, fact.state_size))
            table.add_row(fact.name, *numbers, _format_length(fact.breaks_at, "never"), fact.description)
        emit([asdict(fact) for fact in facts], as_json=self.json, text=table)
        return 0


@dataclass(frozen=True)
class ShowConstruction:
    """Shows one construction: what it computes, and why."""

    name: Positional[str]
    """Name of a construction: fwplab constructions."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.constructions import Construction

        kind = CONSTRUCTIONS.load(self.name)
        facts, made = _facts(CONSTRUCTIONS.name_of(kind)), kind()
        # Its own class documents what it computes. A base class may document why.
        documented = [each for each in kind.__mro__ if issubclass(each, Construction) and each is not Construction]
        text = "\n\n".join(inspect.getdoc(each) or "" for each in documented)
        answer = {**asdict(facts), "text": text, "mixer": str(made.mixer), "shape": str(made.shape)}
        emit(answer, as_json=self.json, text=f"{facts.name}\n\n{text}\n\n{made.mixer}\n{made.shape}")
        return 0


@dataclass(frozen=True)
class CheckConstruction:
    """Checks a construction on all words up to a length, and measures from which length rounding makes it fail.

    Words after which the model and the task are in the same state count as one situation. "closed" means that longer
    words lead to no new situation. bfloat16, with 8 significant bits, fails early enough to measure it; float32 may
    fail only after millions of symbols.
    """

    name: Positional[str]
    """Name of a construction: fwplab constructions."""
    exhaustive: int = 12
    """Check all words up to this length."""
    longest: int = LONGEST
    """The largest length at which a failure is searched for."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        import torch

        from fwplab.verification.check import exhaustive, measure_break

        if min(self.exhaustive, self.longest) < 1:
            raise UserError("lengths must be 1 or more")
        construction = CONSTRUCTIONS.load(self.name)()
        words = f"words to {self.exhaustive}"
        table = Table("precision", words, "situations", "wrong", "breaks at: predicted", "measured", box=None)
        answers = []
        for name in PRECISIONS:
            dtype = getattr(torch, name)
            found = exhaustive(construction, dtype, self.exhaustive)
            predicted = _finite_length(construction.breaks_at(dtype))
            seen = measure_break(construction, dtype, self.longest)
            answers.append({"precision": name, **asdict(found), "predicted": predicted, "measured": seen})
            table.add_row(
                name,
                f"{found.words:,}",
                f"{found.situations:,}{', closed' if found.closed else ''}",
                found.wrong or "none",
                _format_length(predicted, "never"),
                _format_length(seen, f"not to {self.longest:,}"),
            )
        emit(answers, as_json=self.json, text=table)
        return int(any(answer["wrong"] is not None for answer in answers))


@dataclass(frozen=True)
class Bounds:
    """Shows why some mixers cannot compute parity: bounds on their eigenvalues and on their accuracy on 1^n.

    Each bound is printed beside the best value that an optimiser finds.
    """

    heads: int = 2
    """Number of heads of the layer."""
    lengths: tuple[int, ...] = (5, 9, 17)
    """The lengths n of the words 1^n."""
    words: tuple[int, ...] = ()
    """Also train whole models of one and two layers on all words of these lengths; about a minute for each length."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.verification.bounds import (
            LIMITS,
            agreement_bound,
            best_agreement,
            best_agreement_of_words,
            eigenvalue_range,
        )

        if self.heads < 1 or min(self.lengths, default=0) < 1 or max(self.lengths) > LONGEST:
            raise UserError(f"heads and lengths must be 1 or more, and lengths at most {LONGEST:,}")
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
            eigenvalue_facts = {"bound": (limit.low, limit.high), "reached": reached}
            learned = [
                {"length": length, "layers": layers, "found": found}
                for length, both in zip(self.words, whole, strict=True)
                for layers, found in enumerate(both, 1)
            ]
            answers.append({"mixer": name, "eigenvalues": eigenvalue_facts, "right": right, "words": learned})
        emit(answers, as_json=self.json, text=table)
        return 0
