"""`fwplab reproduce` and `fwplab report`: write a study, or some runs, as one self-contained HTML page."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from fwplab.cli.console import emit
from fwplab.cli.study import Selected, Trained
from fwplab.errors import UserError
from fwplab.files import check_writable
from fwplab.studies import STUDIES
from fwplab.tables.columns import to_json
from fwplab.tables.rows import Row, rows_of
from fwplab.tables.terminal import render_terminal
from fwplab.training.protocol import Rule
from fwplab.training.record import Record

if TYPE_CHECKING:
    from fwplab.storage.store import Store


@dataclass(frozen=True)
class Reproduce(Trained):
    """Trains the runs of a study, prints its table, and writes its report."""

    out: Path = Path("report.html")
    """The file to write the report to."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        check_report(self)
        check_writable(self.out)
        self.train()
        return publish(self, "paper", self.out, as_json=self.json)


@dataclass(frozen=True)
class Report(Selected):
    """Writes the report of a study, or of some runs, from finished records, without training."""

    name: Positional[str] = "irie2023"
    """Name of a study, or the key of a run (fwplab runs)."""
    more: Positional[tuple[str, ...]] = ()
    """The keys of more runs for the same report."""
    out: Path = Path("report.html")
    """The file to write the report to."""
    rule: Rule = "paper"
    """The selection rule whose checkpoints are reported: paper, strict, last or oracle."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        check_writable(self.out)
        if self.name in STUDIES and not self.more:
            check_report(self)
            return publish(self, self.rule, self.out, as_json=self.json)
        records = self._runs()
        rows = rows_of(records, self.rule)
        languages, mixers = ({getattr(row, name): None for row in rows} for name in ("language", "mixer"))
        title = f"{_join(mixers)} on {_join(languages)}"
        question = (
            "How many of the seeds of these runs solve their language, and how far beyond the lengths of training?"
        )
        return _write(records, rows, self.out, title, question, as_json=self.json)

    def _runs(self) -> list[Record]:
        """The records of the runs with these keys, without repetition."""
        from fwplab.storage.store import Store

        if self.quick or self.seeds is not None or self.languages or self.mixers:
            raise UserError("--quick, --seeds, --languages and --mixers take a part of a study; a run is shown whole")
        with Store() as store:
            return [_load_run(store, key) for key in dict.fromkeys((self.name, *self.more))]


def check_report(part: Selected) -> None:
    """Raises `UserError` for a study that has no report."""
    if not part.study().reports:
        choices = ", ".join(_studies_with_report())
        raise UserError(f"{part.name} has no report; choose from: {choices}; its table: fwplab study show {part.name}")


def publish(part: Selected, rule: Rule, out: Path, *, as_json: bool) -> int:
    """Writes the report of a study, and prints its table."""
    study, records = part.study(), part.records()
    return _write(records, study.rows(records, rule), out, study.title, study.question, as_json=as_json)


def _load_run(store: "Store", key: str) -> Record:
    if key in STUDIES:
        raise UserError(f"a report shows one study or some runs, and {key!r} is a study; the runs: fwplab runs")
    record = store.load(key)
    if record is None:
        studies = ", ".join(_studies_with_report())
        raise UserError(f"unknown study or run {key!r}; the studies: {studies}; the runs: fwplab runs")
    return record


def _write(
    records: Sequence[Record], rows: Sequence[Row], out: Path, title: str, question: str, *, as_json: bool
) -> int:
    from fwplab.report.report import write_report

    command = shlex.join(["fwplab", *sys.argv[1:]])
    write_report(records, rows, out, title=title, command=command, question=question)
    emit({"rows": to_json(rows), "report": str(out)}, as_json=as_json, text=render_terminal(rows))
    if not as_json:
        print(f"report: {out}")
    return 0


def _studies_with_report() -> list[str]:
    return [name for name, kind in STUDIES.classes() if kind.reports]


def _join(names: Iterable[str]) -> str:
    """Joins names to "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
