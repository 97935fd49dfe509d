"""`fwplab study list`: the questions. Apart from the other actions, which need what trains."""

from dataclasses import dataclass

from rich.table import Table

from fwplab.cli.console import emit, listed
from fwplab.studies import STUDIES


@dataclass(frozen=True)
class ListStudies:
    """All studies, with the question that each asks."""

    json: bool = False

    def __call__(self) -> int:
        facts = listed(STUDIES, lambda name: {"name": name, **STUDIES.read(name, "title", "question")})
        table = Table("study", "question", box=None)
        for fact in facts:
            table.add_row(fact["name"], fact["question"])
        emit(facts, as_json=self.json, text=table)
        return 0
