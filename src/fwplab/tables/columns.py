"""The columns of the table, one declaration each: the terminal, a program and the report's page read it."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fwplab.run import to_dict
from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row
from fwplab.tables.statistics import spread

Lines = tuple[str, str]
"""What stands above, and what in small letters below it."""


def nothing(row: Row) -> dict[str, Any]:
    """No JSON fields."""
    return {}


@dataclass(frozen=True)
class Column:
    """One column. `facts`: its JSON fields. `text`: a row's two lines; None where it is for programs alone.

    `heading` and `note`, a sentence that explains it, stand in the terminal and on the page. `page_heading` and
    `page_text` replace heading and text on the page where they differ. `optional`: not on a page whose rows have
    nothing to say there. `kind`: a word for a colour of the line above. `left`: its text begins at the left.
    `wraps`: it may go on in the next line where the terminal is narrow.
    """

    facts: Callable[[Row], dict[str, Any]] = nothing
    heading: Lines = ("", "")
    text: Callable[[Row], Lines] | None = None
    note: str = ""
    page_heading: Lines | None = None
    page_text: Callable[[Row], Lines] | None = None
    optional: Callable[[Row], bool] | None = None
    kind: Callable[[Row], str] | None = None
    left: bool = False
    wraps: bool = False

    def lines(self, row: Row) -> Lines:
        """A row's text for a terminal."""
        return self.text(row) if self.text else ("", "")

    def on_page(self, row: Row) -> Lines:
        """A row's text as a page sets it: a dash between two numbers, a comma between two that stand apart."""
        above, below = (self.page_text or self.lines)(row)
        return _typeset(above), _typeset(below)

    @property
    def head_on_page(self) -> Lines:
        """What heads it on a page."""
        return self.page_heading or self.heading

    @property
    def name(self) -> str:
        """What names it where there is no heading above, as on a narrow page."""
        return "; ".join(self.head_on_page)


def _typeset(text: str) -> str:
    return re.sub(r" {2,}", ", ", re.sub(r"(?<=\d)-(?=\d)", "\u2013", text))


def _model(row: Row) -> dict[str, Any]:
    return {"mixer": row.mixer, "language": row.language, "parameters": row.parameters, "state_size": row.state_size}


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
    return steps | {"max_steps": row.max_steps, "looks": list(row.looks)}


def _steps_text(row: Row) -> Lines:
    solved_at = [step for step in row.solved_at if step is not None]
    trained = f"{spread(row.steps).median:,.0f}, {row.max_steps:,}; {spread(row.looks).median:,.0f}"
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
        lambda row: (row.mixer, f"{row.parameters:,} / {row.state_size:,}"),
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
        ("steps to solve", "trained, at most; looks"),
        _steps_text,
        "Steps to solve: until a look first finds both bins right, median of the seeds that get there. Trained, "
        "at most: steps, median of all seeds, and the budget. Looks: how often both bins were looked at, each a "
        "chance for a rule that chooses the best.",
        page_heading=("steps to solve, median", "trained, at most; looks"),
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
"""Those for people."""
NOTES = " ".join(column.note for column in COLUMNS if column.note)


def page_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of a page with these rows."""
    return [column for column in SHOWN if column.optional is None or any(map(column.optional, rows))]


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Plain JSON values of every row; accuracies and rates are shares in [0, 1], null where there is none."""
    return [{name: fact for column in COLUMNS for name, fact in column.facts(row).items()} for row in rows]
