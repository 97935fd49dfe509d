"""What the studies of mechanisms share: probes of the checkpoints of the paper's table, summed up over seeds."""

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
"""The name of the measurement of a checkpoint that the probe cannot look at."""


@dataclass(frozen=True)
class MechanismRow:
    """One model on one language: every value that the probe found, over its seeds.

    `solved` of them recognise the language; None where that is not known, as of a checkpoint alone.
    """

    mixer: str
    language: str
    rule: Rule
    seeds: int
    solved: int | None
    values: dict[tuple[int, str], Spread]

    def names(self, kind: str) -> list[str]:
        """What values are called that end in `/kind`, without that ending, each once and in order."""
        found = sorted(name for _, name in self.values if name.endswith(f"/{kind}"))
        return list(dict.fromkeys(name.removesuffix(f"/{kind}") for name in found))

    def lengths(self, name: str) -> list[int]:
        """At which lengths there is a value of this name."""
        return sorted(length for length, each in self.values if each == name)

    def median(self, length: int, name: str) -> float | None:
        """The median over seeds."""
        found = self.values.get((length, name))
        return None if found is None else found.median


class Mechanism(Study):
    """A probe asked of every checkpoint of the paper's table.

    Its figure has a panel for each language: `x` and `y` say what its axes are.
    """

    x: ClassVar[str]
    y: ClassVar[str] = ""
    records_of = "irie2023"
    template_mixer = Irie2023.template_mixer
    measures = True
    measured_rules = ("paper",)

    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """Those of the paper's table; quick: its models on parity, three seeds."""
        every = Irie2023().runs(quick=False, seeds=seeds or (3 if quick else None))
        return [run for run in every if run.language == "parity"] if quick else every

    @abstractmethod
    def probe(self, checkpoint: Checkpoint) -> Values:
        """What the probe finds; `UserError` where it cannot look."""

    @abstractmethod
    def texts(self, cell: MechanismRow) -> list[str]:
        """A row of the table, after its first column."""

    @property
    @abstractmethod
    def head(self) -> tuple[str, ...]:
        """What stands above those columns."""

    @property
    @abstractmethod
    def caption(self) -> str:
        """How to read the table."""

    @abstractmethod
    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """Draws one language; matplotlib and `fwplab.plots` are imported here, as in `Study.figures`."""

    def legend(self, cells: Sequence[MechanismRow]) -> "list[Line2D]":
        """The entries of the figure's legend; none where it needs no legend."""
        return []

    def figures(self) -> Mapping[str, Draw]:
        """One, by the name of the study."""
        return {self.name: lambda records, rule: self.draw(self.rows(records, rule))}

    def draw(self, cells: Sequence[MechanismRow]) -> "Figure":
        """A figure with a panel for each language; `UserError` where nothing has been measured."""
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
        """The values, or one that says that there are none."""
        try:
            found = self.probe(checkpoint)
        except UserError:
            found = {(0, REFUSED): 1.0}
        return [Measurement(self.name, checkpoint.rule, length, what, value) for (length, what), value in found.items()]

    def rows(self, records: Iterable[Record], rule: Rule = "paper") -> Sequence[MechanismRow]:
        """One row a cell, of the seeds that are measured and can be looked at; `UserError` for a rule that none is."""
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
        """Values by name and length."""
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
        """Medians over seeds."""
        table = Table(header_style="bold", caption=self.caption, caption_justify="left")
        for name in ("model\nsolved", *self.head):
            table.add_column(name, no_wrap=True, justify="left" if name.startswith("model") else "right")
        add_by_language(table, rows, lambda cell: cell.language, self._row)
        return table

    def _row(self, cell: MechanismRow) -> list[str]:
        solved = "" if cell.solved is None else f"\n[dim]{cell.solved} of {cell.seeds}[/dim]"
        return [f"{cell.mixer}{solved}", *self.texts(cell)]


def row_of_checkpoint(checkpoint: Checkpoint, values: Values) -> MechanismRow:
    """What a probe found in one checkpoint."""
    run, spreads = checkpoint.run, {which: spread([value]) for which, value in values.items()}
    return MechanismRow(run.mixer_name, run.language, checkpoint.rule, 1, None, spreads)


def mixer_rows(axes: "Axes", cells: Sequence[MechanismRow]) -> None:
    """A panel's axes: mixers from the top down, shares from left to right."""
    from fwplab.plots.style import INK

    axes.set_yticks(range(len(cells)), [cell.mixer for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xlim(-4, 104)
    axes.set_xticks([0, 50, 100])
    axes.xaxis.grid(color=INK, alpha=0.15, linewidth=0.5)


def share(value: float | None) -> str:
    """A share in whole percent, a dash for none; 100 and 0 are said of the exact values alone."""
    return percent(value, decimals=0)
