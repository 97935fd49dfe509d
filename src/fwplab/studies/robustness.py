"""How often, and how fast, do Recurrent Delta and SRWM solve a language with different initialisations and rates?"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from fwplab.data.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model.initialisation import INITIALISATIONS, Initialisation
from fwplab.model.model import ModelSpec
from fwplab.studies.study import Study
from fwplab.tables.numbers import percent
from fwplab.tables.rows import accuracy, guess, require_rule, unsolved
from fwplab.tables.statistics import spread, time_until, wilson
from fwplab.tables.terminal import add_by_language
from fwplab.training.record import Record
from fwplab.training.run import PROTOCOLS, Rule, Run

MODELS = ("recurrent-delta", "srwm")
LANGUAGES = ("parity", "aa_star")
"""Both models solve these, so that times can be compared. Neither solves reset Dyck-1 in so few steps."""
RATES = (1e-3, 3e-3, 1e-2)
MODEL = ModelSpec(hidden=32, layers=2, heads=4, feed_forward_factor=2)
PROTOCOL = replace(
    PROTOCOLS["paper"], max_steps=3_000, check_every=50, splits=SplitSpec(validation_strings=500, test_strings=200)
)
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class RobustnessRow:
    """The results of one model on one language, with one initialisation and one learning rate."""

    mixer: str
    """The mixer's name."""
    language: str
    """The language's name."""
    initialisation: Initialisation
    """The initialisation of the mixers' matrices."""
    learning_rate: float
    """The learning rate."""
    seeds: int
    """The number of seeds."""
    solved: int
    """The number of seeds that solved the language."""
    diverged: int
    """The number of seeds that diverged."""
    rule: Rule
    """The selection rule of the checkpoints."""
    longer: float
    """The accuracy on Bin1, median over seeds."""
    chance: float
    """The chance level on Bin1."""
    steps_until: tuple[float | None, ...]
    """The steps after which each of `SHARES` of the seeds had solved the language (Kaplan-Meier); None if that share
    never did. Seeds that ended unsolved or diverged are censored at the last step."""
    diverged_at: tuple[int, ...]
    """The steps at which seeds diverged."""
    max_steps: int
    """The most steps that a seed trains."""


class Robustness(Study):
    """Twenty seeds, three initialisations, three learning rates: how often and how fast they solve, or diverge."""

    title = "Robustness of the training of Recurrent Delta and SRWM"
    question = (
        "How often do Recurrent Delta and SRWM solve parity and (aa)* with different seeds, initialisations and "
        "learning rates?"
    )
    seeds = 20

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Quick: parity, three seeds and a thousand steps."""
        protocol = replace(PROTOCOL, max_steps=1_000) if quick else PROTOCOL
        return [
            Run(
                language,
                MIXERS.load(mixer)(),
                tuple(range(seeds or (3 if quick else self.seeds))),
                (rate,),
                replace(MODEL, initialisation=scheme),
                protocol,
            )
            for language in (LANGUAGES[:1] if quick else LANGUAGES)
            for mixer in MODELS
            for scheme in INITIALISATIONS
            for rate in RATES
        ]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[RobustnessRow]:
        """One row for each record."""
        return [_row(record, rule) for record in records]

    def place(self, run: Run) -> tuple[str, str]:
        """A panel for each language, model and initialisation, and a line for each learning rate."""
        return (
            f"{run.mixer_name} on {run.language}\nstart: {run.model.initialisation}",
            f"rate {run.learning_rates[0]:g}",
        )

    def facts(self, rows: Sequence[RobustnessRow]) -> list[dict[str, Any]]:
        """The rows as JSON values, with 95 % Wilson intervals of the shares of solved and of diverged seeds."""
        return [
            asdict(cell)
            | {
                "interval": wilson(cell.solved, cell.seeds),
                "diverged_interval": wilson(cell.diverged, cell.seeds),
                "steps_until": dict(zip(map(str, SHARES), cell.steps_until, strict=True)),
            }
            for cell in rows
        ]

    def render(self, rows: Sequence[RobustnessRow]) -> Table:
        """One line for each row, with intervals in brackets."""
        table = Table(
            header_style="bold",
            caption=(
                "Solved: one evaluation found 100 % on Bin0 and on Bin1. Steps: the training steps after which 25, 50 "
                "and 75 % of the seeds had solved the language (Kaplan-Meier); a dash means never. In brackets: 95 % "
                "Wilson intervals, in percent. Bin1: median over seeds. Guess: the best guess on Bin1."
            ),
            caption_justify="left",
        )
        names = ("model", "initialisation", "rate", "solved", "steps to 25, 50, 75 %", "diverged", "Bin1 %", "guess %")
        for name in names:
            table.add_column(name, no_wrap=True, justify="left" if name in names[:2] else "right")
        add_by_language(table, rows, lambda cell: f"{cell.language}  rule: {cell.rule}", _texts)
        return table


def _row(record: Record, rule: Rule) -> RobustnessRow:
    run, members = record.run, record.members
    require_rule(run, rule)
    diverged = [member for member in members if member.status == "diverged"]
    last = run.protocol.max_steps
    curve = unsolved(members, last)
    return RobustnessRow(
        mixer=run.mixer_name,
        language=run.language,
        initialisation=run.model.initialisation,
        learning_rate=run.rate_of(members[0].seed),
        seeds=len(members),
        solved=sum(member.solved_at is not None for member in members),
        diverged=len(diverged),
        rule=rule,
        longer=spread([accuracy(member, rule, "bin1") for member in members]).median,
        chance=guess(record, "bin1"),
        steps_until=tuple(time_until(share, curve) for share in SHARES),
        diverged_at=tuple(member.steps for member in diverged),
        max_steps=last,
    )


def _format_count(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{count} of {of} [dim]({percent(low, 0)}-{percent(high, 0)})[/dim]"


def _texts(cell: RobustnessRow) -> list[str]:
    return [
        cell.mixer,
        cell.initialisation,
        f"{cell.learning_rate:g}",
        _format_count(cell.solved, cell.seeds),
        ", ".join("-" if steps is None else f"{steps:,.0f}" for steps in cell.steps_until),
        _format_count(cell.diverged, cell.seeds),
        percent(cell.longer),
        percent(cell.chance),
    ]
