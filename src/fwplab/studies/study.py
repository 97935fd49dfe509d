"""What every study is: a question, the runs that it yields, and the table that answers it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.table import Table

from fwplab.engines.engine import Observer
from fwplab.errors import UserError
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.recipes.recipe import has_recipe, recipe
from fwplab.storage.store import Store, restricted
from fwplab.studies import STUDIES
from fwplab.tables.columns import to_json
from fwplab.tables.rows import cell_of
from fwplab.tables.terminal import render_terminal
from fwplab.training.checkpoint import Checkpoint, checkpoint_path, load_checkpoint
from fwplab.training.record import Measurement, Record, merge
from fwplab.training.run import Rule, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[Sequence[Record], Rule], "Figure"]
"""Draws a figure of finished records, read under a selection rule."""


class Study(ABC):
    """A question asked of many runs. `title` heads the report, `question` says what is asked and of whom.

    `records_of` names the study whose runs these are, where it is not this one; `measures` says that the study looks at
    checkpoints once they are trained, those of `measured_rules`; `reports` that its rows are those of `fwplab.tables`,
    which the report shows. `template_mixer` is the mixer whose model, rate and budget are common to a language, for a
    mixer that the study does not ask of itself.
    """

    title: ClassVar[str]
    question: ClassVar[str]
    seeds: ClassVar[int] = 5
    records_of: ClassVar[str | None] = None
    measures: ClassVar[bool] = False
    measured_rules: ClassVar[tuple[Rule, ...]] = ("paper", "strict")
    reports: ClassVar[bool] = False
    template_mixer: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The name under which the catalogue finds this study: its command's, and that of what it measures."""
        return STUDIES.name_of(type(self))

    @abstractmethod
    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """A run for each cell with all its seeds, the longest first; `quick` asks for minutes rather than hours."""

    def runs_of(self, mixers: Collection[str], *, quick: bool, seeds: int | None = None) -> list[Run]:
        """The runs of these mixers alone.

        A mixer that is not among the study's own comes after the others of its language. It is trained by its own
        recipe where the package has one, else as the `template_mixer` is; without a `template_mixer` it has no runs.
        """
        every = self.runs(quick=quick, seeds=seeds)
        own = {run.mixer_name for run in every}
        others = [MIXERS.load(mixer)() for mixer in mixers if mixer not in own]
        templates = [run for run in every if run.mixer_name == self.template_mixer]
        added = [_added_run(run, mixer, quick=quick) for run in templates for mixer in others]
        asked = [run for run in every if run.mixer_name in mixers]
        languages = list(dict.fromkeys(run.language for run in every))
        return sorted(asked + added, key=lambda run: languages.index(run.language)) if added else asked

    @abstractmethod
    def rows(self, records: Iterable[Record], rule: Rule) -> Sequence[Any]:
        """The table, from the records of these runs, read under a selection rule."""

    def measure(self, checkpoint: Checkpoint) -> list[Measurement]:
        """What the study wants to know of a trained checkpoint, for studies that `measures`."""
        raise NotImplementedError

    def require_measured(self, rule: Rule) -> None:
        """A `UserError` for a rule whose checkpoints the study does not look at: no rows would look like a result."""
        if rule not in self.measured_rules:
            choices = ", ".join(self.measured_rules)
            raise UserError(f"{self.name} looks at no checkpoint of the {rule} rule; choose from: {choices}")

    def place(self, run: Run) -> tuple[str, str]:
        """The panel of the figure of steps in which a run stands, and its line there; both name it in the status."""
        return cell_of(run)

    def render(self, rows: Sequence[Any]) -> Table:
        """The table for a terminal, and for LaTeX."""
        return render_terminal(rows)

    def notes(self, rows: Sequence[Any]) -> str:
        """What a reader must know beside the table; nothing where there is no more to say."""
        return ""

    def searches(self, rows: Sequence[Any]) -> str:
        """All that is known of the searches behind the recipes of these rows; nothing where there are no recipes."""
        return ""

    def facts(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """The table as plain JSON values."""
        return to_json(rows)

    def figures(self) -> Mapping[str, Draw]:
        """The figures that can be drawn of its records, by the name that `fwplab plot --figure` takes.

        matplotlib is imported when one is drawn: whoever asks for a table does not wait for it.
        """
        return {"steps": self.draw_steps}

    def draw_solved(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """How many seeds solve each cell, for studies whose rows are those of `fwplab.tables`."""
        from fwplab.plots import solve_rate_heatmap

        return solve_rate_heatmap(self.rows(records, rule))

    def draw_lengths(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """Accuracy by length of string."""
        from fwplab.plots import accuracy_by_length

        return accuracy_by_length(records, rule)

    def draw_curves(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """How every seed learned; the rule changes nothing."""
        from fwplab.plots import learning_curves

        return learning_curves(records)

    def draw_steps(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """After how many steps seeds solve their language; the rule changes nothing."""
        from fwplab.plots import steps_to_solve

        return steps_to_solve(records, self.place)


def _added_run(template: Run, mixer: MixerSpec, *, quick: bool) -> Run:
    name = MIXERS.name_of(type(mixer))
    if not quick and has_recipe(template.language, name):
        return recipe(template.language, name).run(template.seeds)
    return replace(template, mixer=mixer, code=None)


def finished(runs: Iterable[Run], stores: Sequence[Store]) -> list[Record]:
    """A record for each run with all its members that the stores hold; none for a run of which they hold nothing."""
    records = []
    for run in runs:
        members: dict[int, Record] = {}
        for store in stores:
            for record in store.found(run):
                members.setdefault(record.members[0].seed, record)
        if members:
            records.append(merge(list(members.values())))
    return records


def measure(
    run: Run, *, folder: Path, device: str, observe: Observer | None, study: Study
) -> tuple[str, dict[int, list[Measurement]]]:
    """A task for an engine: the study looks at the checkpoints of a finished run, seed by seed."""
    return run.key, {seed: _measured(study, folder, seed) for seed in run.seeds}


def _measured(study: Study, folder: Path, seed: int) -> list[Measurement]:
    found: list[Measurement] = []
    by_step: dict[int, list[Measurement]] = {}  # two rules often choose the same step
    for rule in study.measured_rules:
        path = checkpoint_path(folder, seed, rule)
        if path.exists():
            checkpoint = load_checkpoint(path)
            if checkpoint.step not in by_step:
                by_step[checkpoint.step] = study.measure(checkpoint)
            found += [replace(each, study=study.name, rule=rule) for each in by_step[checkpoint.step]]
    return found


def unmeasured(runs: Iterable[Run], store: Store, study: Study) -> list[Run]:
    """The finished runs whose checkpoints the study has not looked at."""
    left: dict[str, Run] = {}
    for run in runs:
        for member, record in store.members(run).values():
            if not any(each.study == study.name for each in member.measured):
                left[record.run.key] = record.run
    return list(left.values())


def unfinished(runs: Iterable[Run], stores: Sequence[Store], *, whole: bool) -> list[Run]:
    """What is left to train: `whole`, all missing members of a cell in one program; else one by one, every cell's
    first seed before any second, so that the table fills evenly."""
    left, singles = [], []
    for run in runs:
        missing: Run | None = run
        for store in stores:
            missing = store.missing(missing) if missing is not None else None
        if missing is not None:
            left.append(missing)
            singles += [(run.seeds.index(seed), restricted(run, (seed,))) for seed in missing.seeds]
    if whole:
        return left
    return [run for _, run in sorted(singles, key=lambda single: single[0])]
