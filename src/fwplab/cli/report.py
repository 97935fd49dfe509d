"""`fwplab reproduce` and `fwplab report`: a study as one page to share."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fwplab.cli.console import emit
from fwplab.cli.study import Selected, train_study
from fwplab.report import write_report
from fwplab.run import Rule


@dataclass(frozen=True)
class Reproduce(Selected):
    """Trains what a study asks for, prints its table, and writes its report."""

    out: Path = Path("report.html")
    """Where the report goes."""
    engine: str = "local"
    """local or ray (fwplab study run --help)."""
    address: str | None = None
    workers: int | None = None
    device: str = "cpu"
    json: bool = False

    def __call__(self) -> int:
        train_study(self, self.engine, self.address, self.workers, self.device)
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
        return publish(self, self.rule, self.out, as_json=self.json)


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
