"""`fwplab study`: trains the runs of a study, shows their status and the table, and exports them for other tools."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from fwplab.cli.console import emit
from fwplab.cli.doctor import check_once
from fwplab.cli.progress import ProgressView
from fwplab.cli.training import check_device, check_seeds
from fwplab.errors import UserError
from fwplab.files import replaced
from fwplab.languages import load_language
from fwplab.mixers import MIXERS
from fwplab.studies import STUDIES
from fwplab.tables.rows import require_rule
from fwplab.training.protocol import RULES, Rule
from fwplab.training.record import Record
from fwplab.training.run import Run

if TYPE_CHECKING:
    from fwplab.engines import Engine
    from fwplab.storage.store import Store
    from fwplab.studies import Study

FORMATS = ("csv", "parquet", "latex", "records")


@dataclass(frozen=True)
class Selected:
    """The options that select a part of a study."""

    name: Positional[str]
    """Name of a study: fwplab study list."""
    quick: bool = False
    """Only the part that takes minutes."""
    seeds: int | None = None
    """How many seeds for each model and language; by default the study's own number."""
    languages: tuple[str, ...] = ()
    """Only these languages."""
    mixers: tuple[str, ...] = ()
    """Only these mixers. A study of the paper's models also trains other mixers, with a common recipe."""
    own: bool = False
    """Ignore the records that come with the package: show and use only those of this machine."""

    def study(self) -> "Study":
        return STUDIES.load(self.name)()

    def runs(self) -> list[Run]:
        """The selected runs. Raises `UserError` if there are none."""
        if self.seeds is not None:
            check_seeds(self.seeds)
        languages = {load_language(name).name for name in self.languages}
        mixers = list(dict.fromkeys(MIXERS.name_of(MIXERS.load(name)) for name in self.mixers))
        study = self.study()
        every = (
            study.runs_of(mixers, quick=self.quick, seeds=self.seeds)
            if mixers
            else study.runs(quick=self.quick, seeds=self.seeds)
        )
        found = [run for run in every if not languages or run.language in languages]
        if not found:
            raise UserError(
                f"{self.name} has no runs of these languages and mixers; see: fwplab study status {self.name}"
            )
        return found

    @contextmanager
    def stores(self) -> Iterator[tuple["Store", "Store"]]:
        """The store of this machine, and the records that come with the package: none of them with `--own`."""
        from fwplab.storage.archive import MEMORY, shipped
        from fwplab.storage.store import Store

        study = self.study()
        with Store() as own, Store(MEMORY) if self.own else shipped(*(study.records_of or (study.name,))) as others:
            yield own, others

    def records(self) -> list[Record]:
        """The finished records. Raises `UserError` if there are none."""
        from fwplab.studies.study import finished

        with self.stores() as (own, others):
            return self.require_records(finished(self.runs(), (own, others)))

    def require_records(self, records: list[Record]) -> list[Record]:
        """Returns `records`. Raises `UserError`, which names the command to run first, if there are none."""
        if not records:
            flag = " --quick" if self.quick else ""
            raise UserError(f"no run of this study is finished; first: fwplab study run {self.name}{flag}")
        return records


@dataclass(frozen=True)
class Trained(Selected):
    """The options that select a part of a study, and say where its missing runs are trained."""

    engine: str = "local"
    """local: processes on this machine. ray: a Ray cluster."""
    address: str | None = None
    """The address of the Ray cluster, or auto; by default a cluster is started on this machine."""
    workers: int | None = None
    """How many runs at a time; by default the number of cores."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    gpus_a_run: float = 0.0
    """With ray: the share of a GPU for each run, such as 0.25. 0 means one GPU with --device cuda, else none."""

    def train(self, *, measure_only: bool = False) -> None:
        """Trains the runs that are not finished, and then measures the checkpoints if the study does so.

        measure_only: measure only, and train nothing.
        """
        from fwplab.engines import engine_named, train_all
        from fwplab.studies.study import unfinished

        check_device(self.device)
        check_once(self.device)
        engine = engine_named(
            self.engine,
            address=self.address,
            workers=self.workers,
            device=self.device,
            gpus_a_run=self.gpus_a_run,
        )
        with self.stores() as (own, others):
            left = unfinished(self.runs(), (own, others), whole=self.device != "cpu")
            runs = [] if measure_only else left
            with ProgressView(runs) as view:
                train_all(runs, own, engine, observe=view.observe)
            if self.study().measures:
                self._measure(own, engine)

    def _measure(self, store: "Store", engine: "Engine") -> None:
        from fwplab.studies.study import measure, unmeasured

        study = self.study()
        runs = unmeasured(self.runs(), store, study)
        results = engine.map(partial(measure, study=study), runs)
        for key, found in track(results, "measuring", len(runs), console=Console(stderr=True)):
            for seed, measurements in found.items():
                store.measure(key, seed, measurements)


@dataclass(frozen=True)
class RunStudy(Trained):
    """Trains the runs of a study that are not finished, here or on a cluster. Run it again to continue after an
    interruption."""

    measure_only: bool = False
    """Train nothing; only measure existing checkpoints, in a study that measures checkpoints."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        if self.measure_only and not self.study().measures:
            choices = ", ".join(name for name, kind in STUDIES.classes() if kind.measures)
            raise UserError(f"{self.name} measures no checkpoints; choose from: {choices}")
        self.train(measure_only=self.measure_only)
        return show(self, "paper", as_json=self.json)


@dataclass(frozen=True)
class StatusStudy(Selected):
    """Shows how many seeds of each model and language are finished, and how their training ended."""

    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.studies.study import finished

        study, runs = self.study(), self.runs()
        with self.stores() as (own, others):
            records = [finished([run], (own, others)) for run in runs]
        facts: list[dict[str, Any]] = []
        table = Table("language", "model", "finished", "solved", "budget", "diverged", "hours", box=None)
        for run, found in zip(runs, records, strict=True):
            ends = [member.status for record in found for member in record.members]
            fact = {
                "language": run.language,
                "mixer": run.mixer_name,
                "asked": len(run.seeds),
                "finished": len(ends),
                **{status: ends.count(status) for status in ("solved", "budget", "diverged")},
                "seconds": sum(record.seconds for record in found),
            }
            facts.append(fact)
            counts = [str(fact[status]) for status in ("solved", "budget", "diverged")]
            hours = f"{sum(record.seconds for record in found) / 3600:.2f}"
            panel, line = study.place(run)
            table.add_row(panel.replace("\n", ", "), line, f"{len(ends)} of {len(run.seeds)}", *counts, hours)
        done, asked, seconds = (sum(fact[name] for fact in facts) for name in ("finished", "asked", "seconds"))
        table.caption = f"{done} of {asked} runs are finished, in {seconds / 3600:.1f} hours of one core"
        table.caption_justify = "left"
        emit(facts, as_json=self.json, text=table)
        return 0


@dataclass(frozen=True)
class ShowStudy(Selected):
    """Shows the table of a study, from your own finished records and those that come with the package."""

    rule: Rule = "paper"
    """The selection rule whose checkpoints are reported: paper, strict, last or oracle."""
    searches: bool = False
    """Below the table, print the details of the searches behind the recipes. --json always has them, as history."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        return show(self, self.rule, as_json=self.json, searches=self.searches)


def show(part: Selected, rule: Rule, *, as_json: bool, searches: bool = False) -> int:
    """Prints the table of a part of a study."""
    study = part.study()
    rows = study.rows(part.records(), rule)
    below = study.searches(rows) if searches else study.notes(rows)
    if searches and not below:
        raise UserError(f"these rows of {part.name} have no recipes; its table: fwplab study show {part.name}")
    emit(study.facts(rows), as_json=as_json, text=study.render(rows))
    if below and not as_json:
        emit(below, as_json=False, text=Text(below))
    return 0


@dataclass(frozen=True)
class ExportStudy(Selected):
    """Exports a study for other tools: its scores or measurements as CSV or Parquet, its table as LaTeX, or its
    records."""

    out: Path = Path()
    """The file to write; for records a folder."""
    format: str = "csv"
    """csv, parquet, latex or records."""
    rule: Rule | None = None
    """The selection rule to export. By default all rules for csv and parquet, and the paper rule for latex."""
    checkpoints: bool = False
    """With records: also the paper rule's checkpoint of the first seed in FWPLAB_HOME, for each model and language."""

    def __call__(self) -> int:
        self._check()
        if self.format == "records":
            self._write_records()
        elif self.format == "latex":
            self._write_latex(self.study())
        else:
            self._write_rows(self.study())
        print(self.out)
        return 0

    def _check(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f"unknown format {self.format!r}; choose from: {', '.join(FORMATS)}")
        if self.checkpoints and self.format != "records":
            raise UserError(f"--checkpoints goes with --format records, not with {self.format}")
        if self.rule and self.format == "records":
            raise UserError("--rule goes with --format csv, parquet or latex, not with records, which have every rule")
        if self.out == Path():
            raise UserError(f"--out is missing: the {'folder' if self.format == 'records' else 'file'} to write")
        study = self.study()
        if self.rule and study.measures:
            study.require_measured(self.rule)

    def _write_latex(self, study: "Study") -> None:
        from fwplab.tables.export import to_latex

        rule: Rule = self.rule or "paper"
        rows = self._rows(study, self.records(), (rule,))
        table = study.render(rows)
        one_rule = any("rule" in fact for fact in study.facts(rows))  # the rows of some studies compare all rules
        sentence = f" Selection rule: {rule}." if one_rule else ""
        with replaced(self.out) as temporary:
            temporary.write_text(to_latex(table, f"{study.title}.{sentence} {table.caption}") + "\n", "utf-8")

    def _write_rows(self, study: "Study") -> None:
        from fwplab.tables.export import measured_values, scores, write_csv, write_parquet

        members = self._members()
        if study.measures:
            rules = (self.rule,) if self.rule else study.measured_rules
            self._rows(study, members, rules)
            table = measured_values(members, study.name, study.place, rules)
        else:
            rules = (self.rule,) if self.rule else RULES
            if self.rule:
                for record in members:
                    require_rule(record.run, self.rule)
            table = scores(members, study.name, study.place, rules)
        (write_csv if self.format == "csv" else write_parquet)(table, self.out)

    def _rows(self, study: "Study", records: list[Record], rules: tuple[Rule, ...]) -> list[Any]:
        """The rows of the study. Raises `UserError` if there are none."""
        rows = [row for rule in rules for row in study.rows(records, rule)]
        if not rows:
            raise UserError(
                f"{self.name} has measured nothing in these languages and mixers; "
                f"its table: fwplab study show {self.name}"
            )
        return rows

    def _members(self) -> list[Record]:
        """One record for each finished seed, of the run in which it was trained."""
        found: list[Record] = []
        with self.stores() as (own, others):
            for run in self.runs():
                by_seed = {r.members[0].seed: r for store in (others, own) for r in store.found(run)}
                found += [by_seed[seed] for seed in sorted(by_seed)]
        return self.require_records(found)

    def _write_records(self) -> None:
        from fwplab.storage.archive import write_archive

        keys = {record.run.key for record in self._members()}
        with self.stores() as (own, others):
            write_archive((own, others), keys, self.out)
            if self.checkpoints:
                self._copy_checkpoints(own)

    def _copy_checkpoints(self, store: "Store") -> None:
        from fwplab.storage.store import folder_of
        from fwplab.training.checkpoint import checkpoint_path, read_tensors, write_tensors

        for run in self.runs():
            for record in store.found(run):
                seed = record.members[0].seed
                source = checkpoint_path(folder_of(record.run), seed, "paper")
                if source.exists():
                    target = self.out / "checkpoints" / f"{record.run.key}-{source.name}"
                    write_tensors(target, *read_tensors(source))  # with a checksum, if a former version wrote it
                    break
