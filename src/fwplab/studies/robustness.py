"""How often do the recurrent and self-referential models get there, from which start, and how fast?"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from fwplab.initialisation import INITIALISATIONS, Initialisation
from fwplab.languages.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model import ModelSpec
from fwplab.record import Record
from fwplab.run import PROTOCOLS, Rule, Run
from fwplab.studies.study import Study
from fwplab.tables.numbers import percent
from fwplab.tables.rows import accuracy, guess, require_rule, unsolved
from fwplab.tables.statistics import spread, time_until, wilson
from fwplab.tables.terminal import add_by_language

MODELS = ("recurrent-delta", "srwm")
LANGUAGES = ("parity", "aa_star")
"""Both models solve them, so that there are times to compare; reset Dyck-1 neither does in so few steps."""
RATES = (1e-3, 3e-3, 1e-2)
MODEL = ModelSpec(hidden=32, layers=2, heads=4, feed_forward_factor=2)
PROTOCOL = replace(
    PROTOCOLS["paper"], max_steps=3_000, check_every=50, splits=SplitSpec(validation_strings=500, test_strings=200)
)
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class RobustnessRow:
    """One model on one language from one start at one rate.

    `steps_until`: the steps after which a quarter, half and three quarters of the seeds had solved the language
    (Kaplan-Meier), None where that share never did; seeds that ended unsolved count as watched to the last step, and
    those that diverged too. `diverged_at`: the steps of those. `longer`: median accuracy on Bin1 under the rule.
    """

    mixer: str
    language: str
    initialisation: Initialisation
    learning_rate: float
    seeds: int
    solved: int
    diverged: int
    rule: Rule
    longer: float
    chance: float
    steps_until: tuple[float | None, ...]
    diverged_at: tuple[int, ...]
    max_steps: int


class Robustness(Study):
    """Twenty seeds, three initialisations, three learning rates."""

    title = "Robustness of the recurrent and the self-referential model"
    question = (
        "Over twenty seeds, three initialisations and three learning rates: how often do Recurrent Delta and SRWM "
        "solve parity and (aa)*, after how many steps, and how often do they diverge?"
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
        """One row a cell, in the order of `runs`."""
        return [_cell(record, rule) for record in records]

    def place(self, run: Run) -> tuple[str, str]:
        """A panel for each language, model and start, a line for each rate."""
        return (
            f"{run.mixer_name} on {run.language}\nstart: {run.model.initialisation}",
            f"rate {run.learning_rates[0]:g}",
        )

    def facts(self, rows: Sequence[RobustnessRow]) -> list[dict[str, Any]]:
        """Both rates with their 95 % Wilson intervals."""
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
        """One line a cell, its intervals in brackets."""
        table = Table(
            header_style="bold",
            caption=(
                "Solved: Bin0 and Bin1 right to the last string at one check. Steps until a quarter, half and three "
                "quarters of the seeds had solved it (Kaplan-Meier); a dash: never. Brackets: 95 % Wilson, percent."
            ),
            caption_justify="left",
        )
        names = ("model", "start", "rate", "solved", "steps to 25, 50, 75 %", "diverged", "Bin1 %", "guess %")
        for name in names:
            table.add_column(name, no_wrap=True, justify="left" if name in names[:2] else "right")
        add_by_language(table, rows, lambda cell: f"{cell.language}  rule: {cell.rule}", _texts)
        return table


def _cell(record: Record, rule: Rule) -> RobustnessRow:
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


def _counted(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{count} of {of} [dim]({percent(low, 0)}-{percent(high, 0)})[/dim]"


def _texts(cell: RobustnessRow) -> list[str]:
    return [
        cell.mixer,
        cell.initialisation,
        f"{cell.learning_rate:g}",
        _counted(cell.solved, cell.seeds),
        ", ".join("-" if steps is None else f"{steps:,.0f}" for steps in cell.steps_until),
        _counted(cell.diverged, cell.seeds),
        percent(cell.longer),
        percent(cell.chance),
    ]
