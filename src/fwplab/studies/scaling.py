"""How far beyond its training lengths does a model go, and what gives way where it stops?"""

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
from fwplab.tables.statistics import Spread, seeds_interval, spread
from fwplab.tables.terminal import add_by_language
from fwplab.training.checkpoint import Checkpoint
from fwplab.training.evaluate import chance, first_errors, stream_chunks
from fwplab.training.record import Measurement, Record
from fwplab.training.run import Rule, Run
from fwplab.training.trainer import load_splits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LENGTHS = (100, 200, 500, 1_000, 5_000, 10_000)
GROWING_TO = 1_000
"""The longest strings for models whose state grows with the string: their time grows with its square."""
STRINGS = 100
SEED = 2_000
"""Of the strings, which nothing else has seen."""


@dataclass(frozen=True)
class Reach:
    """One length: accuracy over seeds, its mean and the interval of that over new seeds (`seeds_interval`), the state's
    norm after the last position, infinite where it overflowed, and the saturated share there."""

    length: int
    strings: int
    accuracy: Spread
    mean: float
    interval: tuple[float, float]
    chance: float
    norm: Spread
    saturation: Spread | None


@dataclass(frozen=True)
class ScalingRow:
    """One model on one language. `fails_from`: the first length at which a seed has a wrong string (None: at none).

    `failing`: the seeds that have one at the longest length; `first_error`: the position (from 0) of the first wrong
    label there, median of a seed's wrong strings and then of these seeds (None: there are none).
    """

    mixer: str
    language: str
    rule: Rule
    seeds: int
    reaches: tuple[Reach, ...]
    fails_from: int | None
    failing: int
    first_error: float | None


class Scaling(Study):
    """The models of the paper's table, trained on lengths up to 50, streamed over strings up to 10,000."""

    title = "How far beyond the training lengths"
    question = (
        "Models trained on strings of length 2-50: how many strings of length 100 to 10,000 do they label right at "
        "every position, in streaming mode, and what do their states look like where they fail?"
    )
    records_of = "irie2023"
    template_mixer = Irie2023.template_mixer
    measures = True

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Those of the paper's table; quick: its models on parity, three seeds."""
        every = Irie2023().runs(quick=False, seeds=seeds or (3 if quick else None))
        return [run for run in every if run.language == "parity"] if quick else every

    def measure(self, checkpoint: Checkpoint) -> list[Measurement]:
        """Right strings, first errors, norm and saturation at every length that has strings."""
        run, model = checkpoint.run, checkpoint.model().eval()
        language = load_language(run.language)
        found: list[Measurement] = []
        for length in LENGTHS:
            if length <= GROWING_TO or run.mixer.constant_memory:
                values = _at(model, language, length, checkpoint)
                found += [Measurement(self.name, checkpoint.rule, length, name, v) for name, v in values.items()]
        return found

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[ScalingRow]:
        """One row a cell, of the seeds that are measured; `UserError` for a rule that none is."""
        self.require_measured(rule)
        cells = []
        for record in records:
            done = tuple(m for m in record.members if m.measurement(self.name, rule, LENGTHS[0], "strings"))
            if done:
                cells.append(_cell(self.name, replace(record, members=done), rule))
        return cells

    def figures(self) -> Mapping[str, Draw]:
        """Its own, and those of the runs."""
        return {self.name: self._draw, "curves": self.draw_curves, "steps": self.draw_steps}

    def _draw(self, records: Sequence[Record], rule: Rule) -> "Figure":
        from fwplab.studies._scaling_curves import scaling_curves

        return scaling_curves(self.rows(records, rule))

    def facts(self, rows: Sequence[ScalingRow]) -> list[dict[str, Any]]:
        """Accuracies as shares; an infinite norm is null."""
        facts = [asdict(cell) for cell in rows]
        for reach in (reach for fact in facts for reach in fact["reaches"]):
            reach["norm"] = {name: norm if math.isfinite(norm) else None for name, norm in reach["norm"].items()}
        return facts

    def render(self, rows: Sequence[ScalingRow]) -> Table:
        """Mean accuracy by length, and below it its interval over new seeds."""
        table = Table(
            header_style="bold",
            caption=(
                f"Whole strings right, mean over seeds in percent of {STRINGS} a length (fewer where the language has "
                "fewer); 0 and 100 are exact. Below it the 95 % interval of the mean to expect over new seeds, no "
                "prediction for one (of one seed alone: over new strings of that seed). Models whose state grows with "
                f"the string are read up to length {GROWING_TO:,}. Fails from: the first length at which a seed has a "
                "wrong string. First error: at the longest length read, the position of a string's first wrong label, "
                "median of a seed's wrong strings and then of the seeds that have any; below it how many have. Norm: "
                "of the whole state after the last position, at the shortest and the longest length read, median over "
                "seeds (inf: it overflows). Flat: its units whose tanh is beyond 0.99, likewise. Guess: at length 100."
            ),
            caption_justify="left",
        )
        lengths = [f"{length:,}" for length in LENGTHS]
        for name in ("model\nseeds", *lengths, "fails\nfrom", "first\nerror", "norm", "flat\n%", "guess\n%"):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, lambda cell: f"{cell.language}  rule: {cell.rule}", _texts)
        return table


def _at(model: Model, language: Language, length: int, checkpoint: Checkpoint) -> dict[str, float]:
    """What is measured on the strings of the longest admissible length up to `length`; nothing if there is none."""
    admissible = language.lengths(max(1, length - 16), length)
    if not admissible:
        return {}
    generator = np.random.default_rng([SEED, length])
    words = sorted(set(language.sample([admissible[-1]] * STRINGS, generator)))
    data = encode(language, words)
    errors = [error for error in first_errors(model, data) if error is not None]
    norms, flats = [], []
    for piece in stream_chunks(model, data):
        if piece.positions.stop == admissible[-1]:
            norms.append(_norm(piece.state))
            flats.append(_saturation(model, piece.state))
    flat = [each for each in flats if each is not None]
    return {
        "strings": float(len(words)),
        "correct": float(len(words) - len(errors)),
        "chance": max(chance(load_splits(checkpoint.run).train, data)),
        "norm": torch.cat(norms).median().item(),
        **({"first_error": float(np.median(errors))} if errors else {}),
        **({"saturation": torch.cat(flat).mean().item()} if flat else {}),
    }


def _norm(state: list[State]) -> torch.Tensor:
    """The Euclidean norm of everything that is carried, `[batch]`."""
    return torch.stack([part.flatten(1).square().sum(1) for layer in state for part in layer]).sum(0).sqrt()


def _saturation(model: Model, state: list[State]) -> torch.Tensor | None:
    """The mean share of flat units over layers, `[batch]`."""
    mixers = [mixer for mixer in model.mixers if isinstance(mixer, Mixer)]
    shares = [mixer.saturation(layer) for mixer, layer in zip(mixers, state, strict=True)]
    known = [share for share in shares if share is not None]
    return torch.stack(known).mean(0) if known else None


def _cell(study: str, record: Record, rule: Rule) -> ScalingRow:
    reaches = tuple(reach for length in LENGTHS if (reach := _reach(study, record, rule, length)) is not None)
    longest = [m.measurement(study, rule, reaches[-1].length, "first_error") for m in record.members]
    errors = [error for error in longest if error is not None]
    return ScalingRow(
        mixer=record.run.mixer_name,
        language=record.run.language,
        rule=rule,
        seeds=len(record.members),
        reaches=reaches,
        fails_from=next((reach.length for reach in reaches if reach.accuracy.lowest < 1), None),
        failing=len(errors),
        first_error=spread(errors).median if errors else None,
    )


def _reach(study: str, record: Record, rule: Rule, length: int) -> Reach | None:
    def values(name: str) -> list[float]:
        found = [member.measurement(study, rule, length, name) for member in record.members]
        return [value for value in found if value is not None]

    strings, flat = values("strings"), values("saturation")
    norms = [math.inf if math.isnan(norm) else norm for norm in values("norm")]  # no number: some string's overflowed
    if not strings:
        return None
    right = [int(correct) for correct in values("correct")]
    shares = [correct / of for correct, of in zip(right, strings, strict=True)]
    return Reach(
        length=length,
        strings=int(strings[0]),
        accuracy=spread(shares),
        mean=statistics.fmean(shares),
        interval=seeds_interval(right, [int(of) for of in strings]),
        chance=values("chance")[0],
        norm=spread(norms),
        saturation=spread(flat) if flat else None,
    )


def _texts(cell: ScalingRow) -> list[str]:
    by_length = {reach.length: reach for reach in cell.reaches}
    accuracies = []
    for length in LENGTHS:
        if length not in by_length:
            accuracies.append("-")
            continue
        reach = by_length[length]
        # As many decimals above as below, so that no mean is rounded out of its interval.
        mean, low, high = (percent(share, decimals=0) for share in (reach.mean, *reach.interval))
        accuracies.append(f"{mean}\n[dim]{low}-{high}[/dim]")
    first, last = cell.reaches[0], cell.reaches[-1]
    flat = [None if reach.saturation is None else reach.saturation.median for reach in (first, last)]
    return [
        f"{cell.mixer}\n[dim]{cell.seeds}[/dim]",
        *accuracies,
        "-" if cell.fails_from is None else f"{cell.fails_from:,}",
        "-" if cell.first_error is None else f"{cell.first_error + 1:,.0f}\n[dim]{cell.failing} of {cell.seeds}[/dim]",
        f"{first.norm.median:.3g}\n{last.norm.median:.3g}",
        "\n".join(percent(share, decimals=0) for share in flat),
        percent(first.chance, decimals=0),
    ]
