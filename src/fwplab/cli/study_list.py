"""`fwplab study list`. It is in a module of its own, so that it does not import PyTorch as the other actions do."""

from dataclasses import dataclass

from rich.table import Table

from fwplab.cli.console import emit, listed
from fwplab.studies import STUDIES


@dataclass(frozen=True)
class ListStudies:
    """Lists all studies, with the question that each answers."""

    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        facts = listed(STUDIES, lambda name: {"name": name, **STUDIES.read(name, "title", "question")})
        table = Table("study", "question", box=None)
        for fact in facts:
            table.add_row(fact["name"], fact["question"])
        emit(facts, as_json=self.json, text=table)
        return 0
