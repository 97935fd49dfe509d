"""Which starting weights let the delta family learn to count: the strength of the first writes, the size of values."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fwplab.data.splits import SplitSpec
from fwplab.languages import load_language
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.mixers.srwm import SRWM
from fwplab.model.model import ModelSpec
from fwplab.probes.leak import DEPTHS, PAIRS, count_leak, held_depth, predicted_depth
from fwplab.studies.study import Draw, Study
from fwplab.tables.rows import require_rule
from fwplab.tables.statistics import Spread, spread, wilson
from fwplab.tables.terminal import add_by_language
from fwplab.training.checkpoint import Checkpoint
from fwplab.training.record import Measurement, Record
from fwplab.training.run import PROTOCOLS, Rule, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE_BIASES = (0.0, -4.0, -8.0)
VALUE_SCALES = (1.0, 30.0, 1_000.0)
MODEL = ModelSpec(hidden=64, layers=1, heads=4)
LEARNING_RATE = 3e-3
PROTOCOL = replace(
    PROTOCOLS["paper"],
    max_steps=1_000,
    schedule="cosine",
    splits=SplitSpec(validation_strings=500, test_strings=200),
)


@dataclass(frozen=True)
class TimeScalesRow:
    """The results of one mixer on one language from one start."""

    mixer: str
    """The mixer's name."""
    language: str
    """The language's name."""
    rate_bias: float
    """The bias of the rates' logits at the start."""
    value_scale: float
    """The factor of the starting weights that make the values."""
    rule: Rule
    """The selection rule of the checkpoints."""
    seeds: int
    """The number of seeds."""
    solved: int
    """The number of seeds that solved the language."""
    steps: float | None
    """The step at which a seed first solved it, median of these seeds; None if there are none."""
    leak_before: Spread | None
    """The leak of the counting head at the start, over seeds; None if it is not measured."""
    leak: Spread | None
    """The leak of the counting head in the checkpoint, over seeds."""
    held: Spread | None
    """The depth up to which counts are right, over seeds."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the share of seeds that solve it."""
        return wilson(self.solved, self.seeds)

    @property
    def predicted(self) -> float | None:
        """The depth that the median leak predicts."""
        return predicted_depth(self.leak.median) if self.leak else None


class TimeScales(Study):
    """Three initial rate biases (strength of the first writes) and three value scales, on four counter languages."""

    title = "The first writes decide whether a counter is learned"
    question = (
        "With which initial rate biases and value scales does the delta family learn to count within a thousand steps?"
    )
    measures = True
    measured_rules = ("paper",)

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Quick: DeltaNet on Dyck-1, three seeds."""
        every = tuple(range(seeds or (3 if quick else self.seeds)))
        return [
            Run(language, mixer, every, (LEARNING_RATE,), MODEL, PROTOCOL)
            for kind in (DeltaNet, RecurrentDelta, SRWM)
            for language in PAIRS
            for bias in RATE_BIASES
            for scale in VALUE_SCALES
            for mixer in [_mixer(kind, bias, scale)]
            if not quick or (kind, language) == (DeltaNet, "dyck_1")
        ]

    def measure(self, checkpoint: Checkpoint) -> list[Measurement]:
        """The leak before and after training, and the depth up to which counts are right."""
        run, language = checkpoint.run, load_language(checkpoint.run.language)
        values = {
            "leak_before": count_leak(run.build(checkpoint.seed), language),
            "leak": count_leak(checkpoint.model(), language),
            "held": float(held_depth(checkpoint.model().eval(), language)),
        }
        return [Measurement(self.name, checkpoint.rule, 0, name, value) for name, value in values.items()]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[TimeScalesRow]:
        """One row for each record. Raises `UserError` for a rule that is not measured."""
        self.require_measured(rule)
        return [_row(self.name, record, rule) for record in records]

    def place(self, run: Run) -> tuple[str, str]:
        """A panel for each language and mixer, and a line for each start."""
        mixer: Any = run.mixer
        return f"{run.mixer_name} on {run.language}", f"bias {mixer.rate_bias:g}, scale {mixer.value_scale:g}"

    def figures(self) -> Mapping[str, Draw]:
        """Heat maps of the solved seeds, and the depths that the leak predicts beside those that hold."""
        return {self.name: self._draw, "leak": self._draw_leak, "steps": self.draw_steps}

    def _draw(self, records: Sequence[Record], rule: Rule) -> "Figure":
        from fwplab.studies._time_scales_figures import solved_by_start

        return solved_by_start(self.rows(records, rule))

    def _draw_leak(self, records: Sequence[Record], rule: Rule) -> "Figure":
        from fwplab.studies._time_scales_figures import predicted_and_held

        return predicted_and_held(self.rows(records, rule))

    def facts(self, rows: Sequence[TimeScalesRow]) -> list[dict[str, Any]]:
        """The rows as JSON values."""
        return [asdict(row) | {"interval": row.interval, "predicted": _finite(row.predicted)} for row in rows]

    def render(self, rows: Sequence[TimeScalesRow]) -> Table:
        """One line for each start."""
        table = Table(
            header_style="bold",
            caption=(
                "Solved: Bin0 and Bin1 at 100 %; brackets: 95 % Wilson, percent. Steps: median of the seeds that solve "
                "it. Leak: the share of a count that the counting head loses with each symbol, at the start and in the "
                "selected checkpoint, median over seeds. Depth: the largest n up to which o^n c^n (n rising symbols, "
                f"then n falling ones) is labelled right, of {len(DEPTHS)} depths from {DEPTHS[0]} to {DEPTHS[-1]:,}, "
                "median over seeds; beside it the depth (2 leak)^(-1/2) that the leak predicts."
            ),
            caption_justify="left",
        )
        names = ("rate bias", "value scale", "solved", "steps", "leak, start", "leak", "depth", "predicted")
        for name in names:
            table.add_column(name, no_wrap=True, justify="right")
        add_by_language(table, rows, lambda row: f"{row.language}: {row.mixer}  rule: {row.rule}", _texts)
        return table


def _mixer(kind: type[MixerSpec], bias: float, scale: float) -> MixerSpec:
    """The mixer with this start. SRWM has a bias only with a softmax of its input."""
    switches: dict[str, Any] = {"rate_bias": bias, "value_scale": scale}
    return kind(**switches, **({"input_softmax": True} if kind is SRWM else {}))


def _row(study: str, record: Record, rule: Rule) -> TimeScalesRow:
    run, members = record.run, record.members
    require_rule(run, rule)
    mixer: Any = run.mixer
    solved_at = [member.solved_at for member in members if member.solved_at is not None]

    def over_seeds(name: str) -> Spread | None:
        values = [member.measurement(study, rule, 0, name) for member in members]
        known = [value for value in values if value is not None]
        return spread(known) if known else None

    return TimeScalesRow(
        mixer=MIXERS.name_of(type(run.mixer)),
        language=run.language,
        rate_bias=mixer.rate_bias,
        value_scale=mixer.value_scale,
        rule=rule,
        seeds=len(members),
        solved=len(solved_at),
        steps=spread(solved_at).median if solved_at else None,
        leak_before=over_seeds("leak_before"),
        leak=over_seeds("leak"),
        held=over_seeds("held"),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _texts(row: TimeScalesRow) -> list[str]:
    low, high = row.interval
    return [
        f"{row.rate_bias:g}",
        f"{row.value_scale:g}",
        f"{row.solved} of {row.seeds} [dim]({100 * low:.0f}-{100 * high:.0f})[/dim]",
        "-" if row.steps is None else f"{row.steps:,.0f}",
        *("-" if leak is None else f"{leak.median:.1e}" for leak in (row.leak_before, row.leak)),
        "-" if row.held is None else f"{row.held.median:,.0f}",
        "-" if row.predicted is None else f"{row.predicted:,.0f}",
    ]
