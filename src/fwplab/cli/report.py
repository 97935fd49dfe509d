"""`fwplab reproduce` and `fwplab report`: a study as one page to share."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fwplab.cli.console import emit
from fwplab.cli.study import Selected, Trained
from fwplab.errors import UserError
from fwplab.report import write_report
from fwplab.run import Rule
from fwplab.studies import STUDIES


@dataclass(frozen=True)
class Reproduce(Trained):
    """Trains what a study asks for, prints its table, and writes its report."""

    out: Path = Path("report.html")
    """Where the report goes."""
    json: bool = False

    def __call__(self) -> int:
        check_report(self)
        self.train()
        return publish(self, "paper", self.out, as_json=self.json)


@dataclass(frozen=True)
class Report(Selected):
    """Writes the report of a study from the records that are there, without training."""

    name: Positional[str] = "irie2023"
    out: Path = Path("report.html")
    rule: Rule = "paper"
    """Which checkpoint speaks for a run: paper, strict, last or oracle."""
    json: bool = False

    def __call__(self) -> int:
        check_report(self)
        return publish(self, self.rule, self.out, as_json=self.json)


def check_report(part: Selected) -> None:
    """A `UserError` for a study whose table is not one that the report shows."""
    if not part.study().reports:
        able = ", ".join(name for name in STUDIES.names() if STUDIES.load(name).reports)
        raise UserError(f"{part.name} has no report; choose from: {able}; its table: fwplab study show {part.name}")


def publish(part: Selected, rule: Rule, out: Path, *, as_json: bool) -> int:
    """Writes the report, and prints the table."""
    study, records = part.study(), part.records()
    rows = study.rows(records, rule)
    command = shlex.join(["fwplab", *sys.argv[1:]])
    write_report(records, rows, out, title=study.title, command=command, question=study.question)
    emit({"rows": study.facts(rows), "report": str(out)}, as_json=as_json, text=study.render(rows))
    if not as_json:
        print(f"report: {out}")
    return 0
