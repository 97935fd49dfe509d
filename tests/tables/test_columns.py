"""The columns of the table: their JSON fields, and their cells in the terminal and on the page."""

from dataclasses import replace
from pathlib import Path

from rich.text import Text
from tests.report.test_report import RECORDS, ROWS

from fwplab.report.report import write_report
from fwplab.tables.columns import COLUMNS, SHOWN, page_columns, to_json
from fwplab.tables.terminal import render_terminal

FIELDS = {
    *(
        "mixer",
        "start",
        "language",
        "claim",
        "verdict",
        "seeds",
        "solved",
        "diverged",
        "interval",
        "rule",
        "bin0",
        "bin1",
    ),
    *("test", "chance", "parameters", "state_size", "steps", "solved_at", "max_steps", "looks", "found_by", "history"),
}
"""The fields that other programs read. None may be removed."""


def test_every_json_field_belongs_to_one_column() -> None:
    names = [name for column in COLUMNS for name in column.facts(ROWS[0])]
    assert len(set(names)) == len(names)
    assert set(names) == set(to_json(ROWS)[0]) == FIELDS


def test_terminal_and_page_show_the_same_columns(tmp_path: Path) -> None:
    table = render_terminal(ROWS)
    assert [column.header for column in table.columns] == ["\n".join(column.heading) for column in SHOWN]
    shown = [list(column.cells)[1] for column in table.columns]
    assert [text.plain for text in shown if isinstance(text, Text)] == ["\n".join(c.lines(ROWS[0])) for c in SHOWN]
    write_report(RECORDS, ROWS, tmp_path / "report.html", title="A title", command="x", question="Which?")
    page = (tmp_path / "report.html").read_text()
    for column in SHOWN:
        above, below = column.head_on_page
        assert f">{above}<small>{below}</small></th>" in page
        assert all(f"<small>{column.on_page(row)[1]}</small></td>" in page for row in ROWS)


def test_a_page_leaves_out_empty_columns() -> None:
    unclaimed = [replace(row, claim="", verdict="") for row in ROWS]
    assert len(page_columns(ROWS)) == len(SHOWN)
    assert [column.heading[0] for column in SHOWN if column not in page_columns(unclaimed)] == ["verdict"]


def test_a_page_formats_ranges_and_pairs() -> None:
    _, solved, bin0, *_ = SHOWN
    low, high = solved.lines(ROWS[2])[1].split("-")
    assert solved.on_page(ROWS[2])[1] == f"{low}\u2013{high}"
    assert bin0.lines(ROWS[0])[0] == "20.0   21.7"
    assert bin0.on_page(ROWS[0])[0] == "20.0, 21.7"
