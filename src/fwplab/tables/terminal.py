"""Renders tables for a terminal."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from fwplab.languages import short_name
from fwplab.tables.columns import NOTES, SHOWN
from fwplab.tables.rows import Row

AnyRow = TypeVar("AnyRow")

COLOURS = {"": "", "reproduced": "green", "partly": "yellow", "open": "dim"}
"""The colour of each kind of entry (see `Column.kind`). All other kinds are red."""


def render_terminal(rows: Sequence[Row]) -> Table:
    """The table of results for a terminal: a heading for each language, and two lines for each of its rows."""
    accuracy = "Accuracy: strings right at every position, in percent, of the checkpoint that the rule selects."
    table = Table(header_style="bold", caption=f"{accuracy} {NOTES}", caption_justify="left")
    for column in SHOWN:
        table.add_column(
            "\n".join(column.heading),
            justify="left" if column.left else "right",
            no_wrap=not column.wraps,
            min_width=14 if column.wraps else None,
        )
    group = None
    for row in rows:
        if (row.language, row.rule) != group:
            group = row.language, row.rule
            table.add_section()
            table.add_row(Text.assemble((short_name(row.language), "bold"), (f"  rule: {row.rule}", "dim")))
        table.add_row(*_texts(row))
    return table


def add_by_language(
    table: Table, cells: Sequence[AnyRow], language: Callable[[AnyRow], str], texts: Callable[[AnyRow], Sequence[str]]
) -> None:
    """Adds rows to a table, in a section with a heading for each language.

    cells: the rows, sorted by language.
    language: gives the language, or another heading, of a row.
    texts: gives the entries of a row.
    """
    heading = None
    for cell in cells:
        if language(cell) != heading:
            heading = language(cell)
            table.add_section()
            table.add_row(Text(short_name(heading), "bold"))
        table.add_row(*texts(cell))


def _texts(row: Row) -> list[Text]:
    texts = []
    for column in SHOWN:
        above, below = column.lines(row)
        colour = COLOURS.get(column.kind(row), "red") if column.kind else ""
        texts.append(Text.assemble((above, colour), "\n", (below, "dim")))
    return texts
