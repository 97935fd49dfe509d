"""The base class of studies. A study has a question, the runs that answer it, a table and figures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.table import Table

from fwplab.engines.engine import Observer
from fwplab.errors import UserError
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.recipes.recipe import recipes
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
"""Draws a figure from finished records and a selection rule."""


class Study(ABC):
    """A question about many runs, and how it is answered."""

    title: ClassVar[str]
    """The title of its report."""
    question: ClassVar[str]
    """The question, in one or two sentences."""
    seeds: ClassVar[int] = 5
    """The default number of seeds of each run."""
    records_of: ClassVar[tuple[str, ...]] = ()
    """The studies whose shipped records its runs may be among; its own alone if empty."""
    measures: ClassVar[bool] = False
    """Whether it measures trained checkpoints, with `measure`."""
    measured_rules: ClassVar[tuple[Rule, ...]] = ("paper", "strict")
    """The selection rules whose checkpoints it measures."""
    reports: ClassVar[bool] = False
    """Whether its rows are `fwplab.tables.rows.Row`, so that it has a report."""
    template_mixer: ClassVar[str] = ""
    """The mixer whose model, learning rate and budget are used for a mixer that is not part of the study; empty if the
    study takes no other mixers."""

    @property
    def name(self) -> str:
        """Its name in the catalogue. Commands use it, and its measurements are stored under it."""
        return STUDIES.name_of(type(self))

    @abstractmethod
    def runs(self, *, quick: bool, seeds: int | None = None) -> list[Run]:
        """One run with all seeds for each cell.

        quick: only a part that takes minutes.
        seeds: the number of seeds; None for the study's own.
        """

    def runs_of(self, mixers: Collection[str], *, quick: bool, seeds: int | None = None) -> list[Run]:
        """The runs of these mixers only, sorted by language.

        A mixer that is not part of the study is trained by its own recipe where the package has one. Else it is trained
        like the `template_mixer`; without a `template_mixer` it has no runs.
        """
        every = self.runs(quick=quick, seeds=seeds)
        own = {run.mixer_name for run in every}
        others = [MIXERS.load(mixer)() for mixer in mixers if mixer not in own]
        templates = [run for run in every if run.mixer_name == self.template_mixer]
        added = [_added_run(run, mixer, quick=quick) for run in templates for mixer in others]
        own_runs = [run for run in every if run.mixer_name in mixers]
        languages = list(dict.fromkeys(run.language for run in every))
        return sorted(own_runs + added, key=lambda run: languages.index(run.language)) if added else own_runs

    @abstractmethod
    def rows(self, records: Iterable[Record], rule: Rule) -> Sequence[Any]:
        """The rows of the table, from records of its runs under a selection rule."""

    def measure(self, checkpoint: Checkpoint) -> list[Measurement]:
        """Measures a trained checkpoint. A study with `measures` must define it."""
        raise NotImplementedError

    def require_measured(self, rule: Rule) -> None:
        """Raises `UserError` for a rule whose checkpoints are not measured. Else an empty table would look like a
        result."""
        if rule not in self.measured_rules:
            choices = ", ".join(self.measured_rules)
            raise UserError(f"{self.name} measures no checkpoints of the {rule} rule; choose from: {choices}")

    def place(self, run: Run) -> tuple[str, str]:
        """The title of a run's panel in the figure of steps, and the name of its line in the panel. Both also name the
        run in the status."""
        return cell_of(run)

    def render(self, rows: Sequence[Any]) -> Table:
        """The table for a terminal and for LaTeX."""
        return render_terminal(rows)

    def notes(self, rows: Sequence[Any]) -> str:
        """Notes to print below the table; empty if there are none."""
        return ""

    def searches(self, rows: Sequence[Any]) -> str:
        """The details of the searches behind the recipes of these rows; empty if there are no recipes."""
        return ""

    def facts(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """The table as plain JSON values."""
        return to_json(rows)

    def figures(self) -> Mapping[str, Draw]:
        """The figures that it can draw, by their names for `fwplab plot --figure`.

        matplotlib is imported only when a figure is drawn, so that commands that print a table do not wait for it.
        """
        return {"steps": self.draw_steps}

    def draw_solved(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """How many seeds solve each cell. The rows of the study must be `fwplab.tables.rows.Row`."""
        from fwplab.plots import solve_rate_heatmap

        return solve_rate_heatmap(self.rows(records, rule))

    def draw_lengths(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """Accuracy by length of string."""
        from fwplab.plots import accuracy_by_length

        return accuracy_by_length(records, rule)

    def draw_curves(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """The learning curve of every seed. It does not depend on the rule."""
        from fwplab.plots import learning_curves

        return learning_curves(records)

    def draw_steps(self, records: Sequence[Record], rule: Rule) -> "Figure":
        """The share of seeds that have not solved their language, by training step. It does not depend on the rule."""
        from fwplab.plots import steps_to_solve

        return steps_to_solve(records, self.place)


def _added_run(template: Run, mixer: MixerSpec, *, quick: bool) -> Run:
    own = [] if quick else recipes(template.language, MIXERS.name_of(type(mixer)))
    return own[0].run(template.seeds) if own else replace(template, mixer=mixer, code=None)


def finished(runs: Iterable[Run], stores: Sequence[Store]) -> list[Record]:
    """One record for each run, with all its members that are in the stores. A run without finished members has none."""
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
    """A task for an engine: measures the checkpoints of a finished run. Returns the run's key, and its measurements by
    seed."""
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
    """The finished runs whose checkpoints the study has not measured."""
    left: dict[str, Run] = {}
    for run in runs:
        for member, record in store.members(run).values():
            if not any(each.study == study.name for each in member.measured):
                left[record.run.key] = record.run
    return list(left.values())


def unfinished(runs: Iterable[Run], stores: Sequence[Store], *, whole: bool) -> list[Run]:
    """The runs that still have to be trained.

    whole: train all missing members of a cell in one run. Else there is one run for each member, with the first seeds
        of all cells before any second seed, so that the table fills evenly.
    """
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
