"""The base class of studies that probe the checkpoints of the paper's table, with statistics over seeds."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.table import Table

from fwplab.errors import UserError
from fwplab.probes.words import Values
from fwplab.studies.irie2023 import Irie2023
from fwplab.studies.study import Draw, Study
from fwplab.tables.numbers import percent
from fwplab.tables.statistics import Spread, spread
from fwplab.tables.terminal import add_by_language
from fwplab.training.checkpoint import Checkpoint
from fwplab.training.record import Measurement, Record
from fwplab.training.run import Rule, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

REFUSED = "refused"
"""The name of the measurement that marks a checkpoint to which the probe does not apply."""


@dataclass(frozen=True)
class MechanismRow:
    """The results of a probe for one model on one language."""

    mixer: str
    """The mixer's name."""
    language: str
    """The language's name."""
    rule: Rule
    """The selection rule of the checkpoints."""
    seeds: int
    """The number of probed seeds."""
    solved: int | None
    """The number of these seeds that solved the language; None if it is unknown, as for a single checkpoint."""
    values: dict[tuple[int, str], Spread]
    """The values over seeds, by length and name."""

    def names(self, kind: str) -> list[str]:
        """The names of the values that end in `/kind`, without that ending, sorted and without repetition."""
        found = sorted(name for _, name in self.values if name.endswith(f"/{kind}"))
        return list(dict.fromkeys(name.removesuffix(f"/{kind}") for name in found))

    def lengths(self, name: str) -> list[int]:
        """The lengths that have a value with this name."""
        return sorted(length for length, each in self.values if each == name)

    def median(self, length: int, name: str) -> float | None:
        """The median over seeds of a value; None if there is none."""
        found = self.values.get((length, name))
        return None if found is None else found.median


class Mechanism(Study):
    """A study that probes every checkpoint of the paper's table. Its figure has a panel for each language."""

    x: ClassVar[str]
    """The label of the horizontal axis."""
    y: ClassVar[str] = ""
    """The label of the vertical axis."""
    records_of = Irie2023.records_of
    template_mixer = Irie2023.template_mixer
    measures = True
    measured_rules = ("paper",)

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """The runs of the paper's table. quick: only parity, three seeds."""
        every = Irie2023().published(seeds=seeds or (3 if quick else None))
        return [run for run in every if run.language == "parity"] if quick else every

    @abstractmethod
    def probe(self, checkpoint: Checkpoint) -> Values:
        """The values that the probe measures. Raises `UserError` if it does not apply to the checkpoint."""

    @abstractmethod
    def texts(self, cell: MechanismRow) -> list[str]:
        """The entries of a row of the table, without the first column."""

    @property
    @abstractmethod
    def head(self) -> tuple[str, ...]:
        """The headings of these entries."""

    @property
    @abstractmethod
    def caption(self) -> str:
        """The caption, which explains the table."""

    @abstractmethod
    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """Draws the panel of one language. It should import matplotlib and `fwplab.plots` (see `Study.figures`)."""

    def legend(self, cells: Sequence[MechanismRow]) -> "list[Line2D]":
        """The entries of the figure's legend; an empty list for no legend."""
        return []

    def figures(self) -> Mapping[str, Draw]:
        """One figure, with the name of the study."""
        return {self.name: lambda records, rule: self.draw(self.rows(records, rule))}

    def draw(self, cells: Sequence[MechanismRow]) -> "Figure":
        """Draws a figure with a panel for each language. Raises `UserError` if there are no measurements."""
        import matplotlib

        from fwplab.plots.style import STYLE, legend, measured_names, panelled

        languages, _ = measured_names([(cell.language, cell.mixer) for cell in cells])
        with matplotlib.rc_context(STYLE):
            figure, panels = panelled(languages, self.x, self.y, same_y=bool(self.y))
            figure.set_label(f"{self.title} on {', '.join(languages)}")
            for axes, language in zip(panels, languages, strict=True):
                self.draw_panel(axes, [cell for cell in cells if cell.language == language])
            if keys := self.legend(cells):
                legend(figure, keys)
        return figure

    def measure(self, checkpoint: Checkpoint) -> list[Measurement]:
        """The values of the probe, or the mark `REFUSED` if it does not apply."""
        try:
            found = self.probe(checkpoint)
        except UserError:
            found = {(0, REFUSED): 1.0}
        return [Measurement(self.name, checkpoint.rule, length, what, value) for (length, what), value in found.items()]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[MechanismRow]:
        """One row for each cell, of the seeds with values. Raises `UserError` for a rule that is not measured."""
        self.require_measured(rule)
        cells = []
        for record in records:
            by_value: dict[tuple[int, str], list[float]] = {}
            seeds = solved = 0
            for member in record.members:
                mine = [m for m in member.measured if (m.study, m.rule) == (self.name, rule) and m.name != REFUSED]
                seeds += bool(mine)
                solved += bool(mine) and member.solved_at is not None
                for each in mine:
                    by_value.setdefault((each.length, each.name), []).append(each.value)
            if seeds:
                values = {which: spread(found) for which, found in by_value.items()}
                cells.append(MechanismRow(record.run.mixer_name, record.run.language, rule, seeds, solved, values))
        return cells

    def facts(self, rows: Sequence[MechanismRow]) -> list[dict[str, Any]]:
        """The rows as JSON values, with the values sorted by name and length."""
        return [
            {"mixer": cell.mixer, "language": cell.language, "rule": cell.rule, "seeds": cell.seeds}
            | {"solved": cell.solved}
            | {
                "values": [
                    {"name": name, "length": length, "lowest": s.lowest, "median": s.median, "best": s.best}
                    for (length, name), s in sorted(cell.values.items(), key=lambda each: (each[0][1], each[0][0]))
                ]
            }
            for cell in rows
        ]

    def render(self, rows: Sequence[MechanismRow]) -> Table:
        """The table of the medians over seeds."""
        table = Table(header_style="bold", caption=self.caption, caption_justify="left")
        for name in ("model\nsolved", *self.head):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, lambda cell: cell.language, self._row)
        return table

    def _row(self, cell: MechanismRow) -> list[str]:
        solved = "" if cell.solved is None else f"\n[dim]{cell.solved} of {cell.seeds}[/dim]"
        return [f"{cell.mixer}{solved}", *self.texts(cell)]


def row_of_checkpoint(checkpoint: Checkpoint, values: Values) -> MechanismRow:
    """The row for the values of one checkpoint."""
    run, spreads = checkpoint.run, {which: spread([value]) for which, value in values.items()}
    return MechanismRow(run.mixer_name, run.language, checkpoint.rule, 1, None, spreads)


def mixer_rows(axes: "Axes", cells: Sequence[MechanismRow]) -> None:
    """Sets the axes of a panel: mixers from top to bottom, percentages from left to right."""
    from fwplab.plots.style import INK

    axes.set_yticks(range(len(cells)), [cell.mixer for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xlim(-4, 104)
    axes.set_xticks([0, 50, 100])
    axes.xaxis.grid(color=INK, alpha=0.15, linewidth=0.5)


def share(value: float | None) -> str:
    """Formats a share as whole percent, and None as a dash. Only exact values are printed as 0 or 100."""
    return percent(value, decimals=0)
