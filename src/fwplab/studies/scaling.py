"""How far does a model generalise beyond its training lengths, and what happens to its state where it fails?"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.table import Table

from fwplab.data.dataset import encode
from fwplab.languages import Language, load_language
from fwplab.mixers import Mixer, State
from fwplab.model.model import Model
from fwplab.studies.irie2023 import Irie2023
from fwplab.studies.study import Draw, Study
from fwplab.tables.numbers import percent
from fwplab.tables.rows import model_name
from fwplab.tables.statistics import Spread, seeds_interval, spread
from fwplab.tables.terminal import add_by_language
from fwplab.training.checkpoint import Checkpoint
from fwplab.training.evaluate import chance, first_errors, stream_chunks
from fwplab.training.record import Measurement, Record
from fwplab.training.run import Rule, Run
from fwplab.training.run_splits import load_splits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LENGTHS = (100, 200, 500, 1_000, 5_000, 10_000)
GROWING_TO = 1_000
"""The longest strings for models whose state grows with the string: their time is quadratic in its length."""
STRINGS = 100
SEED = 2_000
"""The seed of the strings. Nothing else uses it."""


@dataclass(frozen=True)
class LengthResult:
    """The results on the strings of one length."""

    length: int
    """The length."""
    strings: int
    """The number of strings."""
    accuracy: Spread
    """The accuracy over seeds."""
    mean: float
    """The mean accuracy over seeds."""
    interval: tuple[float, float]
    """The 95 % confidence interval of the mean for new seeds (see `seeds_interval`)."""
    chance: float
    """The chance level."""
    norm: Spread
    """The norm of the state after the last position; infinite if it overflowed."""
    saturation: Spread | None
    """The share of saturated units after the last position; None without such units."""


@dataclass(frozen=True)
class ScalingRow:
    """The results of one model on one language."""

    mixer: str
    """The mixer's name, and the start of its recipe (see `model_name`)."""
    language: str
    """The language's name."""
    rule: Rule
    """The selection rule of the checkpoints."""
    seeds: int
    """The number of measured seeds."""
    reaches: tuple[LengthResult, ...]
    """The results by length."""
    fails_from: int | None
    """The first length at which a seed has a wrong string; None if there is none."""
    failing: int
    """The number of seeds with a wrong string at the longest length."""
    first_error: float | None
    """The position, from 0, of the first wrong label at the longest length: the median over the wrong strings of a
    seed, and then over these seeds. None if there are none."""


class Scaling(Study):
    """Streams long strings through the models of the paper's table, and measures their states where they fail."""

    title = "How far beyond the training lengths"
    question = (
        "How many strings of length 100 to 10,000 does a model label correctly at every position, if it was "
        "trained on strings of length 2-50?"
    )
    records_of = Irie2023.records_of
    template_mixer = Irie2023.template_mixer
    measures = True

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """The runs of the paper's table. quick: only parity, three seeds."""
        every = Irie2023().runs(quick=False, seeds=seeds or (3 if quick else None))
        return [run for run in every if run.language == "parity"] if quick else every

    def measure(self, checkpoint: Checkpoint) -> list[Measurement]:
        """Correct strings, first errors, norm and saturation at every length that has strings."""
        run, model = checkpoint.run, checkpoint.model().eval()
        language = load_language(run.language)
        found: list[Measurement] = []
        for length in LENGTHS:
            if length <= GROWING_TO or run.mixer.constant_memory:
                values = _measure_length(model, language, length, checkpoint)
                found += [Measurement(self.name, checkpoint.rule, length, name, v) for name, v in values.items()]
        return found

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[ScalingRow]:
        """One row for each cell, of its measured seeds. Raises `UserError` for a rule that is not measured."""
        self.require_measured(rule)
        cells = []
        for record in records:
            done = tuple(m for m in record.members if m.measurement(self.name, rule, LENGTHS[0], "strings"))
            if done:
                cells.append(_row(self.name, replace(record, members=done), rule))
        return cells

    def figures(self) -> Mapping[str, Draw]:
        """Its own figure, learning curves and steps."""
        return {self.name: self._draw, "curves": self.draw_curves, "steps": self.draw_steps}

    def _draw(self, records: Sequence[Record], rule: Rule) -> "Figure":
        from fwplab.studies._scaling_curves import scaling_curves

        return scaling_curves(self.rows(records, rule))

    def facts(self, rows: Sequence[ScalingRow]) -> list[dict[str, Any]]:
        """The rows as JSON values. Accuracies are shares; an infinite norm is null."""
        facts = [asdict(cell) for cell in rows]
        for reach in (reach for fact in facts for reach in fact["reaches"]):
            reach["norm"] = {name: norm if math.isfinite(norm) else None for name, norm in reach["norm"].items()}
        return facts

    def render(self, rows: Sequence[ScalingRow]) -> Table:
        """The mean accuracy by length, with its confidence interval for new seeds below it."""
        table = Table(
            header_style="bold",
            caption=(
                f"Strings with every label right, mean over seeds, in percent of {STRINGS} strings of each length "
                "(fewer if the language has fewer); 0 and 100 are exact. Below: the 95 % confidence interval of the "
                "mean over new seeds, or of one seed over new strings. Models whose state grows with the string are "
                f"measured up to length {GROWING_TO:,}. Fails from: the first length at which a seed has a wrong "
                "string. First error: at the longest measured length, the position of the first wrong label, median "
                "over the wrong strings of a seed and then over the seeds that have some; below: how many seeds have "
                "some. Norm: of the state after the last position, median over seeds, at the shortest and the longest "
                "measured length (inf: it overflows). Saturated: units with |tanh| above 0.99, likewise. Guess: at "
                "length 100."
            ),
            caption_justify="left",
        )
        lengths = [f"{length:,}" for length in LENGTHS]
        for name in ("model\nseeds", *lengths, "fails\nfrom", "first\nerror", "norm", "saturated\n%", "guess\n%"):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, lambda cell: f"{cell.language}  rule: {cell.rule}", _texts)
        return table


def _measure_length(model: Model, language: Language, length: int, checkpoint: Checkpoint) -> dict[str, float]:
    """Measures words of the language's largest length up to `length`. Returns no values if it has no such words."""
    admissible = language.lengths(max(1, length - 16), length)
    if not admissible:
        return {}
    generator = np.random.default_rng([SEED, length])
    words = sorted(set(language.sample([admissible[-1]] * STRINGS, generator)))
    data = encode(language, words)
    errors = [error for error in first_errors(model, data) if error is not None]
    norms, shares = [], []
    for piece in stream_chunks(model, data):
        if piece.positions.stop == admissible[-1]:
            norms.append(_norm(piece.state))
            shares.append(_saturation(model, piece.state))
    saturated = [share for share in shares if share is not None]
    return {
        "strings": float(len(words)),
        "correct": float(len(words) - len(errors)),
        "chance": max(chance(load_splits(checkpoint.run).train, data)),
        "norm": torch.cat(norms).median().item(),
        **({"first_error": float(np.median(errors))} if errors else {}),
        **({"saturation": torch.cat(saturated).mean().item()} if saturated else {}),
    }


def _norm(state: list[State]) -> torch.Tensor:
    """The Euclidean norm of the state of all layers, `[batch]`."""
    return torch.stack([part.flatten(1).square().sum(1) for layer in state for part in layer]).sum(0).sqrt()


def _saturation(model: Model, state: list[State]) -> torch.Tensor | None:
    """The share of saturated units, mean over layers, `[batch]`; None without such units."""
    mixers = [mixer for mixer in model.mixers if isinstance(mixer, Mixer)]
    shares = [mixer.saturation(layer) for mixer, layer in zip(mixers, state, strict=True)]
    known = [share for share in shares if share is not None]
    return torch.stack(known).mean(0) if known else None


def _row(study: str, record: Record, rule: Rule) -> ScalingRow:
    results = (_length_result(study, record, rule, length) for length in LENGTHS)
    reaches = tuple(result for result in results if result is not None)
    longest = [m.measurement(study, rule, reaches[-1].length, "first_error") for m in record.members]
    errors = [error for error in longest if error is not None]
    return ScalingRow(
        mixer=model_name(record.run),
        language=record.run.language,
        rule=rule,
        seeds=len(record.members),
        reaches=reaches,
        fails_from=next((reach.length for reach in reaches if reach.accuracy.lowest < 1), None),
        failing=len(errors),
        first_error=spread(errors).median if errors else None,
    )


def _length_result(study: str, record: Record, rule: Rule, length: int) -> LengthResult | None:
    def values(name: str) -> list[float]:
        found = [member.measurement(study, rule, length, name) for member in record.members]
        return [value for value in found if value is not None]

    strings, saturation = values("strings"), values("saturation")
    norms = [math.inf if math.isnan(norm) else norm for norm in values("norm")]  # NaN: the state overflowed
    if not strings:
        return None
    right = [int(correct) for correct in values("correct")]
    shares = [correct / of for correct, of in zip(right, strings, strict=True)]
    return LengthResult(
        length=length,
        strings=int(strings[0]),
        accuracy=spread(shares),
        mean=statistics.fmean(shares),
        interval=seeds_interval(right, [int(of) for of in strings]),
        chance=values("chance")[0],
        norm=spread(norms),
        saturation=spread(saturation) if saturation else None,
    )


def _texts(cell: ScalingRow) -> list[str]:
    by_length = {reach.length: reach for reach in cell.reaches}
    accuracies = []
    for length in LENGTHS:
        if length not in by_length:
            accuracies.append("-")
            continue
        reach = by_length[length]
        # The same decimals for all three, so that rounding does not move the mean out of its interval.
        mean, low, high = (percent(share, decimals=0) for share in (reach.mean, *reach.interval))
        accuracies.append(f"{mean}\n[dim]{low}-{high}[/dim]")
    first, last = cell.reaches[0], cell.reaches[-1]
    saturation = [None if reach.saturation is None else reach.saturation.median for reach in (first, last)]
    return [
        f"{cell.mixer}\n[dim]{cell.seeds}[/dim]",
        *accuracies,
        "-" if cell.fails_from is None else f"{cell.fails_from:,}",
        "-" if cell.first_error is None else f"{cell.first_error + 1:,.0f}\n[dim]{cell.failing} of {cell.seeds}[/dim]",
        f"{first.norm.median:.3g}\n{last.norm.median:.3g}",
        "\n".join(percent(share, decimals=0) for share in saturation),
        percent(first.chance, decimals=0),
    ]
