"""`fwplab corpus`: writes, imports and audits corpora in the two published file formats."""

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fwplab.cli.console import emit
from fwplab.data.audit import Audit, audit
from fwplab.data.corpus import make_corpus, write
from fwplab.data.imported import import_corpus
from fwplab.data.splits import SplitSpec, SplitSummary, make_splits
from fwplab.data.tasks import Task, for_task
from fwplab.languages import load_language


@dataclass(frozen=True)
class ExportCorpus:
    """Writes training, validation and test strings of a language to a new folder."""

    folder: Positional[Path]
    """The folder to create."""
    language: str
    """Name of a language (fwplab languages), or a definition such as "regex:(ab|ba)*"."""
    format: Literal["bhattamishra", "irie"] = "bhattamishra"
    """The file format: that of Bhattamishra et al. (2020) or that of Irie et al. (2023)."""
    splits: SplitSpec = field(default_factory=SplitSpec)
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        language = for_task(load_language(self.language), self.splits.task)
        splits = make_splits(language, self.splits)
        corpus = make_corpus(language, splits.named(), self.format)
        write(corpus, self.folder, self.format)
        summary = splits.summary()
        lines = [
            f"{s.split}: {s.strings} strings, {s.distinct} distinct, {s.in_train} of them in train, "
            f"lengths {s.shortest}-{s.longest}"
            for s in summary
        ]
        facts = {"folder": str(self.folder), "splits": [_counts(each) for each in summary]}
        emit(facts, as_json=self.json, text="\n".join([f"written to {self.folder}", *lines]))
        return 0


@dataclass(frozen=True)
class ImportCorpus:
    """Audits a corpus and stores it under a name, for `fwplab train --corpus NAME`."""

    folder: Positional[Path]
    """The folder of the corpus."""
    language: str
    """Name of its language (fwplab languages), or a definition."""
    name: str | None = None
    """Name to store it under; by default the name of the folder."""
    task: Task = "transduction"
    """The task that its labels are for: see fwplab train --help."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        name = self.name or self.folder.resolve().name
        reference, result = import_corpus(self.folder, for_task(load_language(self.language), self.task), name)
        facts = {"corpus": reference, **_facts(result)}
        task = "" if self.task == "transduction" else f" --task {self.task}"
        command = f"fwplab train --language {shlex.quote(self.language)} --corpus {name}{task}"
        text = "\n".join([*result.lines(), f"imported as {reference}: {command}"])
        emit(facts, as_json=self.json, text=text)
        return 0


@dataclass(frozen=True)
class AuditCorpus:
    """Checks every label of a corpus. If one is wrong, it prints the first wrong line and the exit code is 1."""

    folder: Positional[Path]
    """The folder of the corpus."""
    language: str
    """Name of its language (fwplab languages), or a definition."""
    task: Task = "transduction"
    """The task that its labels are for: see fwplab train --help."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        result = audit(self.folder, for_task(load_language(self.language), self.task))
        emit(_facts(result), as_json=self.json, text="\n".join(result.lines()))
        return 0 if result.ok else 1


def _facts(result: Audit) -> dict[str, object]:
    parts = [dataclasses.asdict(part) | {"summary": _counts(part.summary)} for part in result.parts]
    known = {"ok": result.ok, "wrong": result.wrong, "renamed": result.renamed}
    return {**dataclasses.asdict(result), "parts": parts, **known}


def _counts(summary: SplitSummary) -> dict[str, object]:
    """A split's counts under the names of the `--json` fields."""
    return {
        "name": summary.split,
        "strings": summary.strings,
        "distinct": summary.distinct,
        "overlap": summary.in_train,
        "shortest": summary.shortest,
        "longest": summary.longest,
    }
