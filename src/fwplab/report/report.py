"""Writes a report as one self-contained HTML page: the table, the figures, and how to reproduce them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from fwplab.data.splits import SplitSummary
from fwplab.files import replaced
from fwplab.languages import short_name
from fwplab.plots import (
    accuracy_by_length,
    learning_curves,
    line_style,
    marker_points,
    solve_rate_heatmap,
    steps_to_solve,
    to_svg,
)
from fwplab.tables.columns import NOTES, page_columns
from fwplab.tables.rows import Row, best_by_claim, is_fresh, missed
from fwplab.training.record import Record
from fwplab.training.run import Rule
from fwplab.training.spec import to_dict


@dataclass(frozen=True)
class Drawing:
    """A figure of the report."""

    title: str
    """Its heading."""
    caption: str
    """The text that explains it."""
    svg: str
    """The figure as an `<svg>` element."""


def write_report(
    records: Sequence[Record], rows: Sequence[Row], path: Path, *, title: str, command: str, question: str
) -> None:
    """Writes a report. All its numbers come from the records, and the page loads nothing from elsewhere.

    records: the finished runs.
    rows: the rows of the table, from these records.
    path: the file to write, which appears only once it is complete.
    title, question: the heading of the page, and the text below it.
    command: the command line that writes the report again.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fwplab.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["short"] = short_name
    environment.globals |= {"line_style": line_style, "marker_points": marker_points}
    page = environment.get_template("report.html.jinja").render(
        title=title,
        question=question,
        command=command,
        headline=headline(rows),
        rows=rows,
        columns=page_columns(rows),
        notes=NOTES,
        missed=missed(rows),
        drawings=drawings(records, rows),
        specs=[(record, json.dumps(to_dict(record.run), indent=2)) for record in records],
        splits=splits(records),
        machines=[dict(pairs) for pairs in dict.fromkeys(tuple(sorted(r.environment.items())) for r in records)],
        hours=sum(record.seconds for record in records) / 3600,
    )
    with replaced(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def headline(rows: Sequence[Row]) -> str:
    """The main result in one sentence: how many claims were reproduced, or how many cells every seed solves."""
    claims = best_by_claim(rows)
    if not claims:
        solved = sum(row.solved == row.seeds for row in rows)
        return f"{solved} of {len(rows)} cells are solved by every seed."
    kinds = Counter("reproduced" if row.reproduced else row.verdict.split(":")[0] for row in claims)
    started = Counter(row.start for row in claims if row.reproduced and row.start)
    starts = ", ".join(f"{count} by {start}" for start, count in started.items())
    other = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common() if kind != "reproduced")
    stated = f"{kinds['reproduced']} of {len(claims)} claims came out as stated" + (f" ({starts})" if starts else "")
    return stated + (f"; {other}." if other else ".")


def drawings(records: Sequence[Record], rows: Sequence[Row]) -> list[Drawing]:
    """The figures of a report."""
    rule: Rule = rows[0].rule if rows else "paper"
    return [
        Drawing(
            "Solved seeds",
            "Seeds whose selected checkpoint labels all strings of Bin0 and Bin1 right at every position.",
            to_svg(solve_rate_heatmap(rows)),
        ),
        Drawing(
            "Accuracy by length",
            f"Accuracy on test strings, under the {rule} rule{_repeated(records)}. A dot is a seed. A marker is the "
            "mean of the seeds, with the 95 % confidence interval for new seeds like these (with one seed: for new "
            "strings). The dotted line is the better of two guesses. Lengths of training are shaded.",
            to_svg(accuracy_by_length(records, rule)),
        ),
        Drawing(
            "Learning curves",
            "Each seed has a solid line for Bin0 and a dashed line for Bin1. A marker shows where its training ended, "
            "a cross where it diverged.",
            to_svg(learning_curves(records)),
        ),
        Drawing(
            "Steps to solve",
            "The share of seeds that have not solved their language (Kaplan-Meier). A seed solves it at its first "
            "check with Bin0 and Bin1 at 100 %. A tick shows where seeds ended unsolved, a cross where a seed "
            "diverged. The lines are shifted a little, so that none hides another.",
            to_svg(steps_to_solve(records)),
        ),
    ]


def _repeated(records: Sequence[Record]) -> str:
    """A remark that names the languages whose test strings are not all new."""
    few = {
        record.run.language
        for record in records
        for part in record.splits
        if part.split == "test" and not is_fresh(record, (part.shortest, part.longest))
    }
    names = ", ".join(name for name in dict.fromkeys(record.run.language for record in records) if name in few)
    return f" ({names}: some or all of the same strings as in training or in the bins)" if names else ""


def splits(records: Sequence[Record]) -> list[tuple[str, SplitSummary]]:
    """The number of strings in each split of each language, without repetition."""
    found = {(record.run.language, part.split, part.shortest): part for record in records for part in record.splits}
    return [(language, part) for (language, _, _), part in found.items()]
