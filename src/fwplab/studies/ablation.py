"""Which parts of the update rules of Recurrent Delta and SRWM does a language need?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table

from fwplab.data.splits import SplitSpec
from fwplab.mixers.fast_weight_program import PRESETS, FastWeightProgram
from fwplab.model.model import ModelSpec
from fwplab.ops.variation import PARTS
from fwplab.studies.study import Draw, Study
from fwplab.tables.columns import to_json
from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row, row
from fwplab.tables.statistics import spread
from fwplab.training.record import Record
from fwplab.training.run import PROTOCOLS, Rule, Run

LANGUAGES = ("parity", "counter_2", "dyck_1", "reset_dyck_1")
QUICK_LANGUAGES = ("parity",)
MODEL = ModelSpec(hidden=32, layers=2, heads=4, feed_forward_factor=2)
PROTOCOL = replace(
    PROTOCOLS["paper"], max_steps=5_000, check_every=100, splits=SplitSpec(validation_strings=500, test_strings=200)
)
RATE = 3e-3


def variations() -> dict[str, FastWeightProgram]:
    """All variations by name: the four models, then those with one part changed, then those with several."""
    whole, self_referential = PRESETS["recurrent-delta"], PRESETS["srwm"]
    others = {part: ",".join(other for other in PARTS if other != part) for part in PARTS}
    return {
        **PRESETS,
        "additive update": replace(whole, update="additive"),
        "no feedback": replace(whole, feedback="none"),
        "raw feedback": replace(whole, feedback="raw"),
        **{f"feedback into the {part} alone": replace(whole, feedback_into=part) for part in PARTS},
        **{f"keys: {each}": replace(whole, normalisation=each) for each in ("sum", "l2", "none")},
        **{f"rate: {each}": replace(whole, rate=each) for each in ("fixed", "double")},
        "additive, no feedback": replace(whole, update="additive", feedback="none"),
        "no feedback, keys: l2, rate: double": replace(whole, feedback="none", normalisation="l2", rate="double"),
        "srwm, additive": replace(self_referential, update="additive"),
        # Without the value, no memory reaches the output. Those three variations show a model without memory.
        **{f"srwm, {part} alone": replace(self_referential, self_reference=part) for part in PARTS},
        **{f"srwm, value and {part}": replace(self_referential, self_reference=f"value,{part}") for part in PARTS[1:]},
        **{f"srwm, all but the {part}": replace(self_referential, self_reference=others[part]) for part in PARTS},
        "srwm, keys: l2, rate: double": replace(self_referential, normalisation="l2", rate="double"),
    }


@dataclass(frozen=True)
class AblationRow:
    """The results of one variation on one language."""

    variation: str
    """The name of the variation."""
    row: Row
    """Its results."""


class Ablation(Study):
    """Removes parts of the update rules of Recurrent Delta and SRWM, one at a time and together.

    The parts: the delta update, the feedback and its targets, the normalisation of the keys, the range of the rate, and
    the blocks that modify themselves.
    """

    title = "Which parts of the update rule does a language need?"
    question = "Which parts of the update rules of Recurrent Delta and SRWM does each language need?"
    seeds = 3

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """All variations on all languages. quick: only parity, a thousand steps."""
        protocol = replace(PROTOCOL, max_steps=1_000) if quick else PROTOCOL
        return [
            Run(language, program, tuple(range(seeds or self.seeds)), (RATE,), MODEL, protocol)
            for language in (QUICK_LANGUAGES if quick else LANGUAGES)
            for program in variations().values()
        ]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[AblationRow]:
        """One row for each variation and language that has records."""
        names = {program: name for name, program in variations().items()}
        return [AblationRow(names[record.run.mixer], row([record], rule, "")) for record in records]  # type: ignore[index]

    def place(self, run: Run) -> tuple[str, str]:
        """A panel for each language, and a line for each variation."""
        names = {program: name for name, program in variations().items()}
        return run.language, names[run.mixer]  # type: ignore[index]

    def facts(self, rows: Sequence[AblationRow]) -> list[dict[str, Any]]:
        """The JSON fields of the table of results, and the name of the variation."""
        return [{"variation": cell.variation} | to_json([cell.row])[0] for cell in rows]

    def figures(self) -> Mapping[str, Draw]:
        """No figures: thirty variations are too many lines for a panel."""
        return {}

    def render(self, rows: Sequence[AblationRow]) -> Table:
        """A table of variations by languages, with the solved seeds and the accuracy on Bin1."""
        languages = list(dict.fromkeys(cell.row.language for cell in rows))
        found = {(cell.variation, cell.row.language): cell.row for cell in rows}
        rules = ", ".join(sorted({cell.row.rule for cell in rows}))
        guesses = "; ".join(f"{name} {percent(_guess(rows, name))}" for name in languages)
        intervals = {(cell.row.solved, cell.row.seeds): cell.row.interval for cell in rows}
        rates = "; ".join(
            f"{solved} of {seeds}: {percent(low, 0)}-{percent(high, 0)}"
            for (solved, seeds), (low, high) in sorted(intervals.items(), key=lambda item: item[0][::-1])
        )
        table = Table(
            "variation",
            header_style="bold",
            caption=(
                "The number of seeds that solve the language (one evaluation found 100 % on Bin0 and on Bin1). Then "
                "the percentage of Bin1 strings with every label right: the median over seeds, and in brackets the "
                "lowest and the highest seed if they differ. 0 and 100 are exact. "
                f"Rule: {rules}. Best guess on Bin1: {guesses}. "
                f"95 % Wilson intervals of the share of seeds, percent: {rates}."
            ),
            caption_justify="left",
        )
        for name in languages:
            table.add_column(name, justify="right", no_wrap=True)
        for name in variations():
            cells = [found.get((name, language)) for language in languages]
            if any(cells):
                table.add_row(name, *(_text(each) for each in cells))
            if name == "srwm":
                table.add_section()
        return table


def _guess(rows: Sequence[AblationRow], language: str) -> float:
    return next(cell.row.chance_bin1 for cell in rows if cell.row.language == language)


def _text(cell: Row | None) -> str:
    if cell is None:
        return "-"
    over = spread(cell.bin1)
    lowest, median, best = (percent(each, 0) for each in (over.lowest, over.median, over.best))
    reach = f" ({lowest}-{best})" if over.lowest < over.best else ""
    diverged = f" [red]{cell.diverged} diverged[/red]" if cell.diverged else ""
    return f"{cell.solved} of {cell.seeds}  {median}{reach}{diverged}"
