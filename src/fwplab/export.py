"""A study for other tools: scores as CSV or Parquet, a row for each run, seed, rule and length; its table as LaTeX."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from fwplab.files import replaced
from fwplab.record import Member, Record, Score
from fwplab.run import to_dict
from fwplab.statistics import wilson


def scores(records: Sequence[Record]) -> pyarrow.Table:
    """Every score with all that it takes to read it: spec, chance, parameters, versions, machine."""
    return pyarrow.Table.from_pylist(
        [_score(record, member, score) for record in records for member in record.members for score in member.scores]
    )


def write_csv(table: pyarrow.Table, path: Path) -> None:
    """Writes `path` whole or not at all."""
    with replaced(path) as temporary:
        pyarrow.csv.write_csv(table, temporary)


def write_parquet(table: pyarrow.Table, path: Path) -> None:
    """Writes `path` whole or not at all."""
    with replaced(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def to_latex(facts: Sequence[Mapping[str, Any]], columns: Sequence[str], caption: str) -> str:
    """A booktabs table of the named facts; `bin0.median` names what lies in a fact.

    >>> print(to_latex([{"mixer": "e-lstm", "bin0": {"median": 0.5}}], ["mixer", "bin0.median"], "50 %"))
    \\begin{table}
    \\caption{50 \\%}
    \\begin{tabular}{lr}
    \\toprule
    mixer & bin0 median \\\\
    \\midrule
    e-lstm & 0.500 \\\\
    \\bottomrule
    \\end{tabular}
    \\end{table}
    """
    rows = [[_value(fact, column) for column in columns] for fact in facts]
    numeric = [bool(rows) and all(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(caption)}}}",
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numeric)}}}",
        r"\toprule",
        " & ".join(_escaped(column.replace(".", " ").replace("_", " ")) for column in columns) + r" \\",
        r"\midrule",
        *(" & ".join(_cell(value) for value in row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _score(record: Record, member: Member, score: Score) -> dict[str, Any]:
    run, where = record.run, (score.split, score.shortest, score.longest)
    low, high = wilson(score.correct, score.strings)
    guesses = [(c.majority, c.symbolwise) for c in record.chance if (c.split, c.shortest, c.longest) == where]
    majority, symbolwise = guesses[0] if guesses else (None, None)
    return {
        "language": run.language,
        "mixer": run.mixer_name,
        "seed": member.seed,
        "learning_rate": member.learning_rate,
        "status": member.status,
        "steps": member.steps,
        "rule": score.rule,
        "selected_step": member.selected[score.rule],
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
        "parameters": record.parameters,
        "state_size": record.state_size,
        "spec": json.dumps(to_dict(run.member(member.seed)), sort_keys=True),
        "environment": json.dumps(record.environment, sort_keys=True),
    }


def _value(fact: Mapping[str, Any], column: str) -> Any:
    value: Any = fact
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "--"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return _escaped(str(value))


def _escaped(text: str) -> str:
    """Text as LaTeX prints it.

    >>> _escaped("a_b 5 %")
    'a\\\\_b 5 \\\\%'
    """
    special = {c: "\\" + c for c in "&%$#_{}"} | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    return "".join(special.get(character, character) for character in text)
