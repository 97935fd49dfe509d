"""Exports a study for other tools: its scores or measurements as CSV or Parquet, its table as LaTeX."""

import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fwplab.files import replaced
from fwplab.tables.statistics import wilson
from fwplab.training.record import Measurement, Member, Record, Score
from fwplab.training.run import Rule, Run

Place = Callable[[Run], tuple[str, str]]
"""Maps a run to the title of its panel in the study's figures, and to the name of its line in the panel."""

OPTIONAL = {
    **dict.fromkeys(("solved_at", "selected_step", "length"), pyarrow.int64()),
    **dict.fromkeys(("chance_majority", "chance_symbolwise", "value"), pyarrow.float64()),
    "name": pyarrow.string(),
}
"""The types of columns that may be empty in all rows, so that the type cannot be inferred from a value."""


PAGE = 40
"""How many rows fit on a page of LaTeX with a caption."""


def scores(records: Sequence[Record], study: str, place: Place, rules: Sequence[Rule]) -> pyarrow.Table:
    """A table with a row for each run, seed, rule and test set.

    A member without a checkpoint has no correct strings and no `selected_step`.

    records: finished runs.
    study: the name of the study.
    place: gives the panel and the line of a run.
    rules: the selection rules to include.
    """
    return _typed(
        [
            _member(record, member, study, place) | _score(record, member, score)
            for record in records
            for member in record.members
            for score in _every_score(record, member)
            if score.rule in rules
        ]
    )


def measured_values(records: Sequence[Record], study: str, place: Place, rules: Sequence[Rule]) -> pyarrow.Table:
    """A table with a row for each value that the study measured, by member, rule, name and length of string.

    A member without measurements has one row for each rule, in which name, length and value are empty. The arguments
    are those of `scores`.
    """
    return _typed(
        [
            _member(record, member, study, place) | _measurement(member, rule, measured)
            for record in records
            for member in record.members
            for rule in rules
            for measured in _measured(member, study, rule) or [None]
        ]
    )


def write_csv(table: pyarrow.Table, path: Path) -> None:
    """Writes a table as CSV. The file appears only once it is complete."""
    with replaced(path) as temporary:
        pyarrow.csv.write_csv(table, temporary)


def write_parquet(table: pyarrow.Table, path: Path) -> None:
    """Writes a table as Parquet. The file appears only once it is complete."""
    with replaced(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def to_latex(table: Table, caption: str) -> str:
    """Converts a table for a terminal to LaTeX, with booktabs. The entries are the same.

    An entry with several lines becomes several rows. A row with only its first entry becomes a heading. A table longer
    than a page uses longtable, which does not work in a document with two columns: export fewer languages for that.

    >>> shown = Table("mixer", "right %")
    >>> shown.add_row("e-lstm", "99.9")
    >>> print(to_latex(shown, "5 %"))
    % \\usepackage{booktabs}
    \\begin{table}
    \\caption{5 \\%}
    \\begin{tabular}{ll}
    \\toprule
    mixer & right \\% \\\\
    \\midrule
    e-lstm & 99.9 \\\\
    \\bottomrule
    \\end{tabular}
    \\end{table}
    """
    heads = [_lines(column.header) for column in table.columns]
    height = max(map(len, heads))
    rows = zip(*(map(_lines, column.cells) for column in table.columns), strict=True)
    body: list[str] = []
    for cells, row in zip(rows, table.rows, strict=True):
        body += _latex_rows(cells)
        if row is table.rows[-1]:
            break
        if row.end_section:
            body.append(r"\midrule")
        elif max(map(len, cells)) > 1:
            body.append(r"\addlinespace")
    columns = "".join("r" if column.justify == "right" else "l" for column in table.columns)
    caption = rf"\caption{{{_latex(caption)}}}"
    head = [r"\toprule", *_latex_rows([[""] * (height - len(head)) + head for head in heads]), r"\midrule"]
    rows_of_text = sum(not line.startswith((r"\midrule", r"\addlinespace")) for line in body)
    environment = _table_environment if rows_of_text <= PAGE else _longtable_environment
    return "\n".join(environment(columns, caption, head, body))


def _table_environment(columns: str, caption: str, head: list[str], body: list[str]) -> list[str]:
    begin = [r"% \usepackage{booktabs}", r"\begin{table}", caption, rf"\begin{{tabular}}{{{columns}}}"]
    return [*begin, *head, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def _longtable_environment(columns: str, caption: str, head: list[str], body: list[str]) -> list[str]:
    begin = [r"% \usepackage{booktabs,longtable}", rf"\begin{{longtable}}{{{columns}}}", rf"{caption} \\"]
    every_page = [*head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot"]
    return [*begin, *every_page, *body, r"\end{longtable}"]


def _latex_rows(cells: Sequence[Sequence[str]]) -> list[str]:
    """The LaTeX rows of one table row. A row that ends with `\\\\*` stays on the same page as the next one."""
    first, *others = cells
    if not any(map(any, others)):
        return [rf"\multicolumn{{{len(cells)}}}{{l}}{{\textbf{{{_latex(first[0])}}}}} \\*"]
    *lines, last = [" & ".join(map(_latex, row)) for row in zip_longest(*cells, fillvalue="")]
    return [*(rf"{line} \\*" for line in lines), rf"{last} \\"]


def _lines(cell: RenderableType) -> list[str]:
    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    return text.plain.split("\n")


def _latex(text: str) -> str:
    """Escapes text for LaTeX, and typesets ranges, minus signs, dashes and gaps.

    >>> _latex("a_b  5 %"), _latex("43.9-100.0"), _latex("-1.5"), _latex("e-lstm"), _latex("-")
    ('a\\\\_b\\\\enspace 5 \\\\%', '43.9--100.0', '$-$1.5', 'e-lstm', '--')
    """
    special = {c: "\\" + c for c in "&%$#_{}"} | {c: f"{{{c}}}" for c in "[]"}  # a bracket after \\ starts an option
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escaped = "".join(special.get(character, character) for character in text.strip())
    ranged = re.sub(r"(?<=\d)-(?=\d)|(?<!\S)-(?=,|$)", "--", escaped)
    signed = re.sub(r"(?<![\w-])-(?=\d)", "$-$", ranged)
    return re.sub(r"\s{2,}", r"\\enspace ", signed)


def _typed(rows: list[dict[str, Any]]) -> pyarrow.Table:
    table = pyarrow.Table.from_pylist(rows)
    types = [pyarrow.field(field.name, OPTIONAL.get(field.name, field.type)) for field in table.schema]
    return table.cast(pyarrow.schema(types))


def _member(record: Record, member: Member, study: str, place: Place) -> dict[str, Any]:
    run = record.run
    panel, line = place(run)
    return {
        "study": study,
        "panel": panel.replace("\n", ", "),
        "line": line,
        "run": run.key,
        "language": run.language,
        "mixer": run.mixer_name,
        "initialisation": run.model.initialisation,
        "learning_rate": member.learning_rate,
        "parameters": record.parameters,
        "state_size": record.state_size,
        "seed": member.seed,
        "status": member.status,
        "steps": member.steps,
        "max_steps": run.protocol.max_steps,
        "solved_at": member.solved_at,
    }


def _every_score(record: Record, member: Member) -> list[Score]:
    """The member's scores, with 0 correct strings for each rule of the protocol without a checkpoint."""
    parts = [part for part in record.splits if part.split != "train"]
    rules = record.run.protocol.rules
    none = [Score(rule, part.split, part.shortest, part.longest, part.strings, 0) for rule in rules for part in parts]
    return list({(s.rule, s.split, s.shortest, s.longest): s for s in (*none, *member.scores)}.values())


def _score(record: Record, member: Member, score: Score) -> dict[str, Any]:
    where = score.split, score.shortest, score.longest
    low, high = wilson(score.correct, score.strings)
    guesses = [(c.majority, c.symbolwise) for c in record.chance if (c.split, c.shortest, c.longest) == where]
    majority, symbolwise = guesses[0] if guesses else (None, None)
    return {
        "rule": score.rule,
        "selected_step": member.selected.get(score.rule),
        "split": score.split,
        "shortest": score.shortest,
        "longest": score.longest,
        "strings": score.strings,
        "correct": score.correct,
        "accuracy": score.accuracy,
        "interval_low": low,
        "interval_high": high,
        "chance_majority": majority,
        "chance_symbolwise": symbolwise,
    }


def _measured(member: Member, study: str, rule: Rule) -> list[Measurement | None]:
    return [each for each in member.measured if (each.study, each.rule) == (study, rule)]


def _measurement(member: Member, rule: Rule, measured: Measurement | None) -> dict[str, Any]:
    return {
        "rule": rule,
        "selected_step": member.selected.get(rule),
        "name": measured and measured.name,
        "length": measured and measured.length,
        "value": measured and measured.value,
    }
