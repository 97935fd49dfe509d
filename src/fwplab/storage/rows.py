"""A record as rows of the tables, and back. Rows of a database are checked before they are used."""

import json
import math
import typing
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

from sqlalchemy import Table

from fwplab.data.splits import SplitSummary
from fwplab.errors import UserError
from fwplab.storage.database import checksum
from fwplab.storage.tables import NESTED, PARTS, chance, checks, measurements, members, scores, splits
from fwplab.training.record import Chance, Check, Measurement, Member, Record, Score
from fwplab.training.run import Rule, Run
from fwplab.training.spec import from_json, read_value, to_dict

Row = Mapping[Any, Any]
Rows = Mapping[Table, Sequence[Row]]
"""The rows of one record in each table, in their order."""
Part = TypeVar("Part")


def run_row(record: Record) -> dict[str, Any]:
    """The row of a record in the table of runs."""
    run = record.run
    return {
        "key": run.key,
        "language": run.language,
        "mixer": run.mixer_name,
        "spec": json.dumps(to_dict(run), sort_keys=True),
        "parameters": record.parameters,
        "state_size": record.state_size,
        "environment": json.dumps(record.environment, sort_keys=True),
        "seconds": record.seconds,
        "finished": datetime.now(UTC).isoformat(),
    }


def part_rows(record: Record) -> list[tuple[Table, list[dict[str, Any]]]]:
    """The rows of a record in the other tables, without its key."""

    def plain(items: Iterable[Any], **more: Any) -> list[dict[str, Any]]:
        rows = [{f.name: getattr(item, f.name) for f in fields(item) if f.name not in NESTED} for item in items]
        return [{"place": place, **more, **_without_nan(row)} for place, row in enumerate(rows)]

    heads = plain(record.members)
    for head, member in zip(heads, record.members, strict=True):
        head["selected"] = json.dumps(member.selected)
    return [
        (members, heads),
        (checks, [row for m, member in enumerate(record.members) for row in plain(member.checks, member=m)]),
        (scores, [row for m, member in enumerate(record.members) for row in plain(member.scores, member=m)]),
        (measurements, [row for m, member in enumerate(record.members) for row in plain(member.measured, member=m)]),
        (splits, plain(record.splits)),
        (chance, plain(record.chance)),
    ]


def measurement_row(measurement: Measurement) -> dict[str, Any]:
    """The columns of a measurement, without its place."""
    return _without_nan(asdict(measurement))


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """The row with None (NULL) in place of NaN, which SQL does not have."""
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in row.items()}


@lru_cache(maxsize=4096)  # a study queries the store for each of its runs, and each query reads many specs
def _run(spec: str) -> Run:
    return from_json(Run, spec)


def run_of(head: Row) -> Run:
    """The run of a row in the table of runs.

    Raises `UserError` if it is not the run of the row's key, or if its mixer or language is missing here or has other
    switches.
    """
    run = _run(read_value(str, head["spec"], "spec"))
    for name, expected in (("key", run.key), ("language", run.language), ("mixer", run.mixer_name)):
        if head[name] != expected:
            raise UserError(f"its spec is that of {name} {expected}")
    return run


LISTED = ("key", "language", "mixer", "spec", "seconds", "finished")
"""The columns of a run that `fwplab runs` lists or needs."""
LISTED_OF_MEMBERS = ("place", "seed", "status")


def checksums_of(head: Row, rows: Rows) -> dict[str, str]:
    """The checksums of the rows of a record.

    - `listed`: of what `fwplab runs` lists.
    - `fixed`: of all that training wrote.
    - `measured`: of what studies measured later.
    """
    of_members = [[row[name] for name in LISTED_OF_MEMBERS] for row in rows[members]]
    trained = [row.values() for table in PARTS if table is not measurements for row in rows[table]]
    return {
        "listed": checksum([head[name] for name in LISTED], *of_members),
        "fixed": checksum(head.values(), *trained),
        "measured": checksum(*(row.values() for row in rows[measurements])),
    }


def check_checksums(written: Row, head: Row, rows: Rows) -> None:
    """Raises `UserError` if these rows are not those whose checksums were written with them."""
    found = checksums_of(head, rows)
    if changed := [name for name in found if found[name] != written[name]]:
        what = "measurements" if changed == ["measured"] else "values"
        raise UserError(f"its {what} have changed since they were written: the checksums differ")


def record_of(head: Row, run: Run, rows: Rows) -> Record:
    """The record of these rows. Raises `UserError` for a value that no training can have written."""
    by_member: dict[Table, dict[Any, list[Row]]] = {}
    for table in (checks, scores, measurements):
        found = by_member.setdefault(table, {})
        for row in rows[table]:
            found.setdefault(row["member"], []).append(row)
    places = {row["place"] for row in rows[members]}
    for table, found in by_member.items():
        if lost := set(found) - places:
            raise UserError(f"the table {table.name} has rows of a member {lost.pop()} that is missing")
    record = Record(
        run=run,
        members=tuple(
            _member(row, {table: found.get(row["place"], []) for table, found in by_member.items()})
            for row in rows[members]
        ),
        parameters=read_value(int, head["parameters"], "parameters"),
        state_size=read_value(int, head["state_size"], "state_size"),
        splits=tuple(map(_distinct, _parts(SplitSummary, rows[splits]))),
        chance=_parts(Chance, rows[chance]),
        environment=_json(dict[str, str], head["environment"], "environment"),
        seconds=read_value(float, head["seconds"], "seconds"),
    )
    _check(record)
    return record


def _member(row: Row, rows: Mapping[Table, Sequence[Row]]) -> Member:
    plain = {name: row[name] for name in ("seed", "learning_rate", "status", "steps")}
    return Member(
        **{name: read_value(_types(Member)[name], value, name) for name, value in plain.items()},
        checks=_parts(Check, rows[checks]),
        selected=_json(dict[str, int], row["selected"], "selected"),
        scores=_parts(Score, rows[scores]),
        measured=_parts(Measurement, rows[measurements]),
    )


@cache
def _types(kind: Any) -> dict[str, Any]:
    """The type of each plain field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind) if f.name not in NESTED}


def _parts(kind: type[Part], rows: Sequence[Row]) -> tuple[Part, ...]:
    types = _types(typing.cast(Hashable, kind))
    return tuple(
        kind(**{name: _number_or_value(hint, row[name], name) for name, hint in types.items()}) for row in rows
    )


def _number_or_value(hint: Any, value: Any, name: str) -> Any:
    """The value of a column. NULL stands for NaN, and a loss may be infinite."""
    if hint is float and value is None:
        return math.nan
    if hint in (float, float | None) and isinstance(value, float):
        return value
    return read_value(hint, value, name)


def _json(hint: Any, text: Any, name: str) -> Any:
    try:
        values = json.loads(read_value(str, text, name))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{name} is no JSON text") from error
    return read_value(hint, values, name)


def _check(record: Record) -> None:
    """Raises `UserError` for values that do not fit together."""
    run, seeds = record.run, [member.seed for member in record.members]
    if len(set(seeds)) != len(seeds) or not set(seeds) <= set(run.seeds):
        raise UserError(f"its members have the seeds {seeds}, its run {list(run.seeds)}")
    _require(record.parameters >= 0 and record.state_size >= 0 and record.seconds >= 0, "a size or a time is negative")
    for member in record.members:
        _require(member.learning_rate == run.rate_of(member.seed), f"seed {member.seed} has another learning rate")
        _require(0 <= member.steps <= run.protocol.max_steps, f"seed {member.seed} has too many steps")
        _require(set(member.selected) <= set(typing.get_args(Rule)), f"seed {member.seed} has an unknown rule")
        for check in member.checks:
            accuracies = (check.bin0_accuracy, check.bin1_accuracy, check.oracle_accuracy or 0.0)
            _require(not any(a < 0 or a > 1 for a in accuracies), f"an accuracy at step {check.step} is no share")
        for score in member.scores:
            _require(0 <= score.correct <= score.strings, f"{score.correct} of {score.strings} strings are correct")
    for part in record.splits:
        _require(0 <= part.distinct <= part.strings and part.in_train >= 0, f"{part.split} counts more than it has")
    for guess in record.chance:
        _require(not any(a < 0 or a > 1 for a in (guess.majority, guess.symbolwise)), "a chance level is no share")


def _require(right: bool, why: str) -> None:
    if not right:
        raise UserError(why)


def _distinct(split: SplitSummary) -> SplitSummary:
    """A former version counted repeats of the training set: there, all distinct strings are in it."""
    return replace(split, in_train=min(split.in_train, split.distinct))
