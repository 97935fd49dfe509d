"""What every study is: a question, the runs that it yields, and the table that answers it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from fwplab.record import Record
from fwplab.run import Run
from fwplab.table import Row


class Study(ABC):
    """A question asked of many runs. `title` heads the report, `question` says what is asked and of whom."""

    title: ClassVar[str]
    question: ClassVar[str]

    @abstractmethod
    def runs(self, *, quick: bool) -> list[Run]:
        """The runs that answer the question, the longest first; `quick` asks for minutes rather than hours."""

    @abstractmethod
    def rows(self, records: Iterable[Record]) -> Sequence[Row]:
        """The table, from the records of these runs."""
