"""The store of finished runs: a database, by default an SQLite file.

SQLite ships with Python, needs no server, and writes a record in one transaction, so that a kill leaves no half record.
SQLAlchemy uses the same tables in a server database, whose URL is given in `FWPLAB_STORE`.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

from fwplab.data.splits import SplitSummary
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.storage.database import (
    BUSY_SECONDS,
    NO_DRIVER,
    create_tables,
    database_message,
    database_url,
    invalid_url,
    without_password,
)
from fwplab.training.record import Chance, Check, Measurement, Member, Record, Score
from fwplab.training.run import Run
from fwplab.training.spec import from_json, to_dict

SCHEMA = 2
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""The waits between attempts to reach a database server; their sum of two minutes outlasts a restart."""

metadata = MetaData()

versions = Table("versions", metadata, Column("schema", Integer, primary_key=True))
runs = Table(
    "runs",
    metadata,
    Column("key", String(16), primary_key=True),
    Column("language", String, nullable=False, index=True),
    Column("mixer", String, nullable=False, index=True),
    Column("spec", Text, nullable=False),
    Column("parameters", Integer, nullable=False),
    Column("state_size", Integer, nullable=False),
    Column("environment", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("finished", String, nullable=False),
)


_NESTED = {"checks", "selected", "scores", "measured"}
"""The fields of a member that are stored in their own tables, or as JSON."""


def _table(name: str, kind: type, *more: Column[Any]) -> Table:
    """A table with a column for each plain field of a dataclass; `place` is an object's index in its record."""
    types: dict[Any, type] = {int: Integer, float: Float, float | None: Float}
    columns: list[Column[Any]] = [
        Column(f.name, types.get(f.type, String)) for f in fields(kind) if f.name not in _NESTED
    ]
    place = Column("place", Integer, primary_key=True)
    return Table(
        name,
        metadata,
        Column("run", ForeignKey("runs.key", ondelete="CASCADE"), primary_key=True),
        *more,
        place,
        *columns,
    )


members = _table("members", Member, Column("selected", Text, nullable=False))
checks = _table("checks", Check, Column("member", Integer, primary_key=True))
scores = _table("scores", Score, Column("member", Integer, primary_key=True))
measurements = _table("measurements", Measurement, Column("member", Integer, primary_key=True))
splits = _table("splits", SplitSummary)
chance = _table("chance", Chance)
PARTS = (members, checks, scores, measurements, splits, chance)


def folder_of(run: Run) -> Path:
    """The folder of a run's training state and checkpoints."""
    return home() / "runs" / run.key


Result = TypeVar("Result")


class Store:
    """The finished runs, in the database at `url` (None: as `fwplab.storage.database.database_url` chooses it).

    Close it, or use it as a context manager. Raises `UserError` if the database cannot be used.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = database_url(url, "records.sqlite")
        try:
            self.engine = sql.create_engine(self.url, pool_pre_ping=True)
        except NO_DRIVER as error:
            raise invalid_url(without_password(self.url), error) from error
        if self.engine.dialect.name == "sqlite":
            sql.event.listen(self.engine, "connect", _set_pragmas)
        try:
            create_tables(self._open)
        except sql.exc.DBAPIError as error:
            self.close()
            raise UserError(
                f"{without_password(self.url)} cannot be used as a store ({database_message(error)}); "
                "choose another FWPLAB_HOME or FWPLAB_STORE"
            ) from error
        except UserError:
            self.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()

    def _open(self) -> None:
        with self.engine.begin() as connection:
            metadata.create_all(connection)
            found = connection.execute(sql.select(versions.c.schema)).scalars().all()
            if not found:
                connection.execute(versions.insert().values(schema=SCHEMA))
        self.check_version(found or [SCHEMA], without_password(self.url))

    def check_version(self, found: Sequence[int], where: str) -> None:
        """Raises `UserError` if the records in `where` have another schema than this version of fwplab writes."""
        if list(found) != [SCHEMA]:
            other = found[0] if found else "?"
            raise UserError(
                f"{where} has records of schema {other}, this version of fwplab writes {SCHEMA}; "
                "choose another FWPLAB_HOME"
            )

    def rows(self, query: sql.Select[Any]) -> list[dict[str, Any]]:
        """The rows of a query over the tables of this module, as dictionaries."""

        def read() -> list[dict[str, Any]]:
            with self.engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]

        return self._with_retries(read)

    def save(self, record: Record) -> None:
        """Writes a record in one transaction. A record with the same key is kept as it is."""
        try:
            self._with_retries(lambda: self._insert(record))
        except sql.exc.IntegrityError:
            if not self.has(record.run.key):  # if it is there, another process has just written it
                raise

    def measure(self, key: str, seed: int, found: Sequence[Measurement]) -> None:
        """Stores measurements of one member. They replace all earlier ones of the same studies.

        key: the key of the run.
        seed: the member's seed.
        """
        studies = {measurement.study for measurement in found}

        def write() -> None:
            with self.engine.begin() as connection:
                of_seed = sql.and_(members.c.run == key, members.c.seed == seed)
                place = connection.execute(sql.select(members.c.place).where(of_seed)).scalar_one()
                of_member = sql.and_(measurements.c.run == key, measurements.c.member == place)
                connection.execute(measurements.delete().where(of_member, measurements.c.study.in_(studies)))
                last = connection.execute(sql.select(sql.func.max(measurements.c.place)).where(of_member)).scalar()
                first = 0 if last is None else last + 1
                rows = [
                    {"run": key, "member": place, "place": first + index, **_without_nan(asdict(measurement))}
                    for index, measurement in enumerate(found)
                ]
                connection.execute(measurements.insert(), rows)

        if found:
            self._with_retries(write)

    def _with_retries(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, with retries while a database server restarts.

        Raises `UserError` if it still fails; the training state in the run's folder is not lost.
        """
        for wait in RETRY_SECONDS if self.engine.dialect.name != "sqlite" else ():
            try:
                return work()
            except sql.exc.OperationalError:
                time.sleep(wait)
        try:
            return work()
        except sql.exc.OperationalError as error:
            raise UserError(
                f"{without_password(self.url)} does not answer ({database_message(error)}); "
                "the same command goes on where this one stopped"
            ) from error

    def _insert(self, record: Record) -> None:
        key = record.run.key
        with self.engine.begin() as connection:
            if connection.execute(sql.select(runs.c.key).where(runs.c.key == key)).first():
                return
            connection.execute(runs.insert(), [_run_row(record)])
            for table, rows in _part_rows(record):
                if rows:
                    connection.execute(table.insert(), [{"run": key, **row} for row in rows])

    def has(self, key: str) -> bool:
        """Whether the run with this key is finished."""
        return bool(self.rows(sql.select(runs.c.key).where(runs.c.key == key)))

    def keys(self) -> set[str]:
        """The keys of all finished runs."""
        return {row["key"] for row in self.rows(sql.select(runs.c.key))}

    def specs(self) -> list[Run]:
        """The specifications of all finished runs, in the order of their completion."""
        rows = self.rows(sql.select(runs.c.spec).order_by(runs.c.finished, runs.c.key))
        return [from_json(Run, row["spec"]) for row in rows]

    def load(self, key: str) -> Record | None:
        """The record of a run, None if it is not finished."""
        found = self._select(runs.c.key == key)
        return found[0] if found else None

    def records(self, *, language: str | None = None, mixer: str | None = None) -> list[Record]:
        """All records, or those of a language and a mixer, in the order of their completion."""
        filters = [column == value for column, value in ((runs.c.language, language), (runs.c.mixer, mixer)) if value]
        return self._select(*filters)

    def members(self, run: Run) -> dict[int, tuple[Member, Record]]:
        """The finished members of `run` by seed, each with the record of the run in which it was trained."""
        found: dict[int, tuple[Member, Record]] = {}
        rates, common = {seed: run.rate_of(seed) for seed in run.seeds}, _without_members(run)
        where = runs.c.language == run.language, runs.c.mixer == run.mixer_name
        for record in self._select(*where, accept=lambda other: _without_members(other) == common):
            for member in record.members:
                if rates.get(member.seed) == member.learning_rate:
                    found.setdefault(member.seed, (member, record))
        return {seed: found[seed] for seed in run.seeds if seed in found}

    def found(self, run: Run) -> list[Record]:
        """The finished members of `run`: one record for each, with that member only."""
        return [replace(record, members=(member,)) for member, record in self.members(run).values()]

    def missing(self, run: Run) -> Run | None:
        """The part of `run` that is not finished, None if all is."""
        finished = self.members(run)
        seeds = tuple(seed for seed in run.seeds if seed not in finished)
        return restricted(run, seeds) if seeds else None

    def _select(self, *where: sql.ColumnElement[bool], accept: Callable[[Run], bool] = lambda _: True) -> list[Record]:
        """The records that satisfy `where` and whose run `accept` accepts."""
        return self._with_retries(lambda: self._read(*where, accept=accept))

    def _read(self, *where: sql.ColumnElement[bool], accept: Callable[[Run], bool]) -> list[Record]:
        """Reads only the specs first, as the other tables of a record are large."""
        with self.engine.connect() as connection:
            heads = connection.execute(sql.select(runs).where(*where).order_by(runs.c.finished, runs.c.key)).all()
            specs = ((head, _spec(head)) for head in heads)
            return [_record(connection, head, run) for head, run in specs if run is not None and accept(run)]


def restricted(run: Run, seeds: tuple[int, ...]) -> Run:
    """The run with these of its seeds only, each with its own learning rate."""
    rates = tuple(run.rate_of(seed) for seed in seeds)
    return replace(run, seeds=seeds, learning_rates=rates if len(run.learning_rates) > 1 else run.learning_rates)


def _without_members(run: Run) -> Run:
    """The run without what distinguishes its members and how they are grouped, for comparisons."""
    return replace(run, seeds=(0,), learning_rates=(1.0,), population="stack")


def _set_pragmas(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _run_row(record: Record) -> dict[str, Any]:
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


def _part_rows(record: Record) -> list[tuple[Table, list[dict[str, Any]]]]:
    def plain(items: Iterable[Any], **more: Any) -> list[dict[str, Any]]:
        rows = [{f.name: getattr(item, f.name) for f in fields(item) if f.name not in _NESTED} for item in items]
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


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """The row with None (NULL) in place of NaN, which SQL does not have."""
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in row.items()}


def _distinct(split: SplitSummary) -> SplitSummary:
    """A former version counted repeats of the training set: there, all distinct strings are in it."""
    return replace(split, in_train=min(split.in_train, split.distinct))


Part = TypeVar("Part")


def _spec(head: sql.Row[Any]) -> Run | None:
    """The run of a row; None, with a warning, if its mixer or language is missing or has other switches now."""
    try:
        return _run(head.spec)
    except UserError as error:
        line = f"fwplab: run {head.key} of {head.mixer} on {head.language} cannot be read here and is left out: {error}"
        warnings.warn(line, RuntimeWarning, stacklevel=2)
        return None


@lru_cache(maxsize=4096)  # a study queries the store for each of its runs, and each query reads many specs
def _run(spec: str) -> Run:
    return from_json(Run, spec)


def _record(connection: sql.Connection, head: sql.Row[Any], run: Run) -> Record:
    def rows(table: Table, *where: sql.ColumnElement[bool]) -> list[dict[str, Any]]:
        query = sql.select(table).where(table.c.run == head.key, *where).order_by(table.c.place)
        return [dict(row._mapping) for row in connection.execute(query)]

    def parts(kind: type[Part], table: Table, *where: sql.ColumnElement[bool]) -> tuple[Part, ...]:
        types = {f.name: f.type for f in fields(kind) if f.name not in _NESTED}  # type: ignore[arg-type]
        return tuple(
            kind(**{n: math.nan if row[n] is None and t is float else row[n] for n, t in types.items()})
            for row in rows(table, *where)
        )

    all_members = [
        Member(
            seed=row["seed"],
            learning_rate=row["learning_rate"],
            status=row["status"],
            steps=row["steps"],
            checks=parts(Check, checks, checks.c.member == row["place"]),
            selected=json.loads(row["selected"]),
            scores=parts(Score, scores, scores.c.member == row["place"]),
            measured=parts(Measurement, measurements, measurements.c.member == row["place"]),
        )
        for row in rows(members)
    ]
    return Record(
        run=run,
        members=tuple(all_members),
        parameters=head.parameters,
        state_size=head.state_size,
        splits=tuple(map(_distinct, parts(SplitSummary, splits))),
        chance=parts(Chance, chance),
        environment=json.loads(head.environment),
        seconds=head.seconds,
    )
