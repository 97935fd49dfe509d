"""The store of finished runs: a database, by default an SQLite file.

SQLite ships with Python, needs no server, and writes a record in one transaction, so that a kill leaves no half record.
SQLAlchemy uses the same tables in a server database, whose URL is given in `FWPLAB_STORE`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql

from fwplab.errors import UserError, one_line
from fwplab.files import home
from fwplab.storage.database import (
    BUSY_SECONDS,
    SCHEMA,
    UNUSABLE,
    check_version,
    checksum,
    create_tables,
    database_message,
    database_url,
    invalid_url,
    is_protected,
    read_only,
    shown,
    sqlite_file,
    unusable,
    wait_for_server,
)
from fwplab.storage.rows import (
    Row,
    check_checksums,
    checksums_of,
    measurement_row,
    part_rows,
    record_of,
    run_of,
    run_row,
)
from fwplab.storage.tables import PARTS, checksums, measurements, members, metadata, runs, versions
from fwplab.training.record import Measurement, Member, Record
from fwplab.training.run import Run

READ_AT_ONCE = 200
"""How many records are read by one query of each table."""


_told: ContextVar[list[str] | None] = ContextVar("_told", default=None)


@contextmanager
def left_out() -> Iterator[list[str]]:
    """A list of lines about the rows that cannot be read inside this context, which are then no warnings."""
    lines: list[str] = []
    token = _told.set(lines)
    try:
        yield lines
    finally:
        _told.reset(token)


def folder_of(run: Run) -> Path:
    """The folder of a run's training state and checkpoints."""
    return home() / "runs" / run.key


Result = TypeVar("Result")


class Store:
    """The finished runs, in the database at `url` (None: as `fwplab.storage.database.database_url` chooses it).

    An SQLite file that cannot be written is opened to be read. Close the store, or use it as a context manager.

    Raises `UserError` if the database cannot be used.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = database_url(url, "records.sqlite")
        path = sqlite_file(self.url)
        self.read_only = path is not None and is_protected(path)
        try:
            self._connect(read_only(path) if path is not None and self.read_only else self.url)
        except UserError:
            self.close()
            raise
        except sql.exc.DBAPIError as error:
            self.close()
            raise unusable(self.url, error) from error
        except UNUSABLE as error:
            self.close()
            raise invalid_url(shown(self.url), database_message(error, self.url)) from error

    def _connect(self, url: sql.URL) -> None:
        self.engine = sql.create_engine(url, pool_pre_ping=True)
        if self.engine.dialect.name == "sqlite":
            sql.event.listen(self.engine, "connect", _set_busy if self.read_only else _set_pragmas)
        wait_for_server(lambda: create_tables(self._open), self.url)

    def require_writable(self) -> None:
        """Raises `UserError` for a store that can only be read. Call it before long work whose result goes there."""
        if self.read_only:
            raise UserError(
                f"{shown(self.url)} can only be read; choose another FWPLAB_HOME or FWPLAB_STORE to write to"
            )

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        if hasattr(self, "engine"):
            self.engine.dispose()

    def _open(self) -> None:
        with self.engine.begin() as connection:
            if not self.read_only:
                metadata.create_all(connection)
            self.has_checksums = not self.read_only or sql.inspect(connection).has_table(checksums.name)
            found = connection.execute(sql.select(versions.c.schema)).scalars().all()
            if not found and not self.read_only:
                connection.execute(versions.insert().values(schema=SCHEMA))
        check_version(found or [SCHEMA], shown(self.url))

    def rows(self, query: sql.Select[Any]) -> list[dict[str, Any]]:
        """The rows of a query over the tables of this module, as dictionaries."""

        def read() -> list[dict[str, Any]]:
            with self.engine.connect() as connection:
                return [dict(row) for row in connection.execute(query).mappings()]

        return self.with_retries(read)

    def save(self, record: Record) -> None:
        """Writes a record in one transaction. One with the same key is kept, unless its rows cannot be read."""
        self.require_writable()
        try:
            self.with_retries(lambda: self._insert(record))
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
                self._check_measured(connection, key)
                of_seed = sql.and_(members.c.run == key, members.c.seed == seed)
                place = connection.execute(sql.select(members.c.place).where(of_seed)).scalar_one()
                of_member = sql.and_(measurements.c.run == key, measurements.c.member == place)
                connection.execute(measurements.delete().where(of_member, measurements.c.study.in_(studies)))
                last = connection.execute(sql.select(sql.func.max(measurements.c.place)).where(of_member)).scalar()
                first = 0 if last is None else last + 1
                rows = [
                    {"run": key, "member": place, "place": first + index, **measurement_row(measurement)}
                    for index, measurement in enumerate(found)
                ]
                connection.execute(measurements.insert(), rows)
                self._sign_measured(connection, key)

        if found:
            self.require_writable()
            self.with_retries(write)

    def _check_measured(self, connection: sql.Connection, key: str) -> None:
        """Raises `UserError` if the measurements of a run are not those that were written; locks their checksum."""
        query = sql.select(checksums.c.measured).where(checksums.c.run == key).with_for_update()
        written = connection.execute(query).scalar()
        if written is not None and written != _measured_checksum(connection, key):
            raise UserError(f"the measurements of run {key} have changed since they were written: the checksums differ")

    def _sign_measured(self, connection: sql.Connection, key: str) -> None:
        found = _measured_checksum(connection, key)
        connection.execute(checksums.update().where(checksums.c.run == key).values(measured=found))

    def with_retries(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, with retries while a database server restarts, as `wait_for_server` has them.

        Raises `UserError` if it still fails; the training state in the run's folder is not lost.
        """
        try:
            return wait_for_server(work, self.url)
        except sql.exc.IntegrityError:
            raise
        except sql.exc.OperationalError as error:
            raise UserError(
                f"{shown(self.url)} does not answer ({database_message(error, self.url)}); "
                "the same command goes on where this one stopped"
            ) from error
        except sql.exc.DBAPIError as error:
            raise unusable(self.url, error) from error

    def _insert(self, record: Record) -> None:
        key = record.run.key
        with self.engine.begin() as connection:
            heads = connection.execute(sql.select(runs).where(runs.c.key == key)).mappings().all()
            if any(self._readable(connection, heads, lambda _: True)):
                return
            for table in (checksums, *PARTS, runs) if heads else ():
                connection.execute(table.delete().where((table.c.key if table is runs else table.c.run) == key))
            connection.execute(runs.insert(), [run_row(record)])
            for table, rows in part_rows(record):
                if rows:
                    connection.execute(table.insert(), [{"run": key, **row} for row in rows])
            head = connection.execute(sql.select(runs).where(runs.c.key == key)).mappings().one()
            written = {table: rows.get(key, []) for table, rows in _parts(connection, [key]).items()}
            connection.execute(checksums.insert().values(run=key, **checksums_of(head, written)))

    def has(self, key: str) -> bool:
        """Whether the run with this key is finished."""
        return bool(self.rows(sql.select(runs.c.key).where(runs.c.key == key)))

    def specs(self) -> list[Run]:
        """The specifications of all finished runs, in the order of their completion."""
        heads = self.rows(sql.select(runs).order_by(runs.c.finished, runs.c.key))
        return [run for head in heads if (run := _run_or_warning(head)) is not None]

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
        of_run = members.c.run == runs.c.key
        of_seed = members.c.seed.between(min(run.seeds), max(run.seeds))
        of_rate = members.c.learning_rate.between(min(run.learning_rates), max(run.learning_rates))
        some = sql.exists().where(of_run, of_seed, of_rate)
        where = runs.c.language == run.language, runs.c.mixer == run.mixer_name, some
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

        def read() -> list[Record]:
            with self.engine.connect() as connection:
                query = sql.select(runs).where(*where).order_by(runs.c.finished, runs.c.key)
                return list(self._readable(connection, connection.execute(query).mappings(), accept))

        return self.with_retries(read)

    def _readable(
        self, connection: sql.Connection, heads: Iterable[Row], accept: Callable[[Run], bool]
    ) -> Iterator[Record]:
        """The records of these rows of the table of runs. What cannot be read is left out, with a warning.

        The other tables are read for many records at once, and for accepted runs alone, as they are large.
        """
        known = ((head, _run_or_warning(head)) for head in heads)
        wanted = [(head, run) for head, run in known if run is not None and accept(run)]
        for first in range(0, len(wanted), READ_AT_ONCE):
            yield from self._records(connection, wanted[first : first + READ_AT_ONCE])

    def _records(self, connection: sql.Connection, wanted: Sequence[tuple[Row, Run]]) -> Iterator[Record]:
        """The records of these runs, without those whose rows cannot be read or have changed."""
        try:
            keys = [head["key"] for head, _ in wanted]
            parts = _parts(connection, keys)
            written = _checksums(connection, keys) if self.has_checksums else {}
        except sql.exc.DatabaseError as error:
            if isinstance(error, sql.exc.OperationalError):  # a server that is starting again; else a page is damaged
                raise
            if len(wanted) == 1:
                _warn(wanted[0][0], UserError(error.orig))
            else:
                for one in wanted:
                    yield from self._records(connection, [one])
            return
        for head, run in wanted:
            try:
                rows = {table: found.get(head["key"], []) for table, found in parts.items()}
                record = record_of(head, run, rows)
                if head["key"] in written:
                    check_checksums(written[head["key"]], head, rows)
                yield record
            except UserError as error:
                _warn(head, error)


def _parts(connection: sql.Connection, keys: Sequence[str]) -> dict[sql.Table, dict[str, list[Row]]]:
    """The rows of these runs by table and key, in their order."""
    found: dict[sql.Table, dict[str, list[Row]]] = {}
    for table in PARTS:
        query = sql.select(table).where(table.c.run.in_(keys)).order_by(*table.primary_key.columns)
        rows = connection.execute(query).mappings()
        found[table] = {key: list(of_run) for key, of_run in groupby(rows, lambda row: row["run"])}
    return found


def _checksums(connection: sql.Connection, keys: Sequence[str]) -> dict[str, Row]:
    """The checksums that were written with these runs, by key. Those of former versions have none."""
    rows = connection.execute(sql.select(checksums).where(checksums.c.run.in_(keys))).mappings()
    return {row["run"]: row for row in rows}


def _measured_checksum(connection: sql.Connection, key: str) -> str:
    query = sql.select(measurements).where(measurements.c.run == key)
    return checksum(*connection.execute(query.order_by(*measurements.primary_key.columns)))


def _run_or_warning(head: Row) -> Run | None:
    try:
        return run_of(head)
    except UserError as error:
        _warn(head, error)
        return None


def _warn(head: Row, error: UserError) -> None:
    which = one_line(f"run {head['key']} of {head['mixer']} on {head['language']}")
    line = f"{which} cannot be read here and is left out: {error}"
    told = _told.get()
    if told is None:
        warnings.warn(f"fwplab: {line}", RuntimeWarning, stacklevel=2)
    else:
        told.append(line)


def restricted(run: Run, seeds: tuple[int, ...]) -> Run:
    """The run with these of its seeds only, each with its own learning rate."""
    rates = tuple(run.rate_of(seed) for seed in seeds)
    return replace(run, seeds=seeds, learning_rates=rates if len(run.learning_rates) > 1 else run.learning_rates)


def _without_members(run: Run) -> Run:
    """The run without what distinguishes its members and how they are grouped, for comparisons."""
    return replace(run, seeds=(0,), learning_rates=(1.0,), population="stack")


def _set_busy(connection: Any, _: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}").close()


def _set_pragmas(connection: Any, _: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}").close()
