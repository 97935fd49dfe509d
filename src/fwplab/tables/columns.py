"""The columns of the table of results, declared once for the terminal, for JSON and for the page of the report."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row
from fwplab.tables.statistics import spread
from fwplab.training.spec import to_dict

Lines = tuple[str, str]
"""The two lines of a table entry: the main line, and a line in small letters below it."""


def nothing(row: Row) -> dict[str, Any]:
    """No JSON fields."""
    return {}


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    facts: Callable[[Row], dict[str, Any]] = nothing
    """The JSON fields of a row."""
    heading: Lines = ("", "")
    """The heading."""
    text: Callable[[Row], Lines] | None = None
    """The entry of a row; None for a column that only JSON has."""
    note: str = ""
    """A sentence below the table that explains the column."""
    page_heading: Lines | None = None
    """The heading on the page of the report, if it differs."""
    page_text: Callable[[Row], Lines] | None = None
    """The entry on the page of the report, if it differs."""
    optional: Callable[[Row], bool] | None = None
    """Whether a row has an entry. The page omits the column if no row has one."""
    kind: Callable[[Row], str] | None = None
    """A word that determines the colour of the main line."""
    left: bool = False
    """Whether the text is aligned to the left."""
    wraps: bool = False
    """Whether the text may wrap in a narrow terminal."""

    def lines(self, row: Row) -> Lines:
        """The entry of a row in a terminal."""
        return self.text(row) if self.text else ("", "")

    def on_page(self, row: Row) -> Lines:
        """The entry of a row on a page: a range has an en dash, and two numbers are separated by a comma."""
        above, below = (self.page_text or self.lines)(row)
        return _typeset(above), _typeset(below)

    @property
    def head_on_page(self) -> Lines:
        """The heading on a page."""
        return self.page_heading or self.heading

    @property
    def name(self) -> str:
        """The heading as one line, for a narrow page that shows it beside each entry."""
        return "; ".join(self.head_on_page)


def _typeset(text: str) -> str:
    return re.sub(r" {2,}", ", ", re.sub(r"(?<=\d)-(?=\d)", "\u2013", text))


def _model(row: Row) -> dict[str, Any]:
    names = {"mixer": row.mixer, "start": row.start, "language": row.language}
    return names | {"parameters": row.parameters, "state_size": row.state_size}


def _solved(row: Row) -> dict[str, Any]:
    counts = {"seeds": row.seeds, "solved": row.solved, "diverged": row.diverged}
    return counts | {"interval": list(row.interval), "rule": row.rule}


def _solved_text(row: Row) -> Lines:
    low, high = row.interval
    diverged = f", {row.diverged} diverged" if row.diverged else ""
    return f"{row.solved} of {row.seeds}{diverged}", f"{percent(low)}-{percent(high)}"


def _accuracy_text(shares: Sequence[float], chance: float) -> Lines:
    over = spread(shares)
    return f"{percent(over.median)}  {percent(over.best):>5}", percent(chance)


def _steps(row: Row) -> dict[str, Any]:
    steps = {"steps": list(row.steps), "solved_at": list(row.solved_at)}
    return steps | {"max_steps": row.max_steps, "looks": list(row.evaluations)}


def _steps_text(row: Row) -> Lines:
    solved_at = [step for step in row.solved_at if step is not None]
    trained = f"{spread(row.steps).median:,.0f}, {row.max_steps:,}; {spread(row.evaluations).median:,.0f}"
    return f"{spread(solved_at).median:,.0f}" if solved_at else "-", trained


def _tests(row: Row) -> dict[str, Any]:
    tests = zip(row.test, row.fresh, strict=True)
    window = [{"shortest": low, "longest": high, "fresh": new} | _seeds(shares) for (low, high, shares), new in tests]
    return {"test": window}


def _chance(row: Row) -> dict[str, Any]:
    shares = {"bin0": row.chance_bin0, "bin1": row.chance_bin1}
    return {"chance": {name: None if math.isnan(share) else share for name, share in shares.items()}}


def _history(row: Row) -> dict[str, Any]:
    line = row.found_by.summary(row.language) if row.found_by else ""
    return {"found_by": line, "history": to_dict(row.found_by)}


def _seeds(shares: tuple[float, ...]) -> dict[str, Any]:
    return {"median": spread(shares).median, "best": spread(shares).best, "seeds": list(shares)}


COLUMNS = (
    Column(
        _model,
        ("model", "parameters / state"),
        lambda row: (row.model, f"{row.parameters:,} / {row.state_size:,}"),
        left=True,
    ),
    Column(
        _solved,
        ("solved", "95 % interval"),
        _solved_text,
        "Interval: Wilson, 95 %.",
    ),
    Column(
        lambda row: {"bin0": _seeds(row.bin0)},
        ("Bin0 median, best", "guess"),
        lambda row: _accuracy_text(row.bin0, row.chance_bin0),
        "Guess: the better of the majority label and each symbol's best label.",
    ),
    Column(
        lambda row: {"bin1": _seeds(row.bin1)},
        ("Bin1 median, best", "guess"),
        lambda row: _accuracy_text(row.bin1, row.chance_bin1),
    ),
    Column(_chance),
    Column(_tests),
    Column(
        _steps,
        ("steps to solve", "trained, at most; evaluations"),
        _steps_text,
        "Steps to solve: until an evaluation first finds both bins at 100 %, median of the seeds that get there. "
        "Trained, at most: steps, median of all seeds, and the budget. Evaluations: of both bins during training, each "
        "a chance for a rule that chooses the best.",
        page_heading=("steps to solve, median", "trained, at most; evaluations"),
    ),
    Column(
        lambda row: {"claim": row.claim, "verdict": row.verdict},
        ("verdict", "claim"),
        lambda row: (row.verdict or "-", f"claim: {row.claim}" if row.claim else "no claim"),
        page_heading=("verdict", "the paper says"),
        page_text=lambda row: (row.verdict or "\u2013", row.claim or "nothing"),
        optional=lambda row: bool(row.claim),
        kind=lambda row: row.verdict.split(":")[0].split(" ")[0],
        left=True,
        wraps=True,
    ),
    Column(_history),
)

SHOWN = tuple(column for column in COLUMNS if column.text)
"""The columns that the terminal and the page show."""
NOTES = " ".join(column.note for column in COLUMNS if column.note)


def page_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of a page with these rows: all that are shown, except optional ones without entries."""
    return [column for column in SHOWN if column.optional is None or any(map(column.optional, rows))]


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain JSON values. Accuracies and rates are shares in [0, 1], or null if unknown."""
    return [{name: fact for column in COLUMNS for name, fact in column.facts(row).items()} for row in rows]
