"""The database: its URL, which is never shown with its password, its messages, and the creation of its tables by
several processes at once, and the waiting for a server that is away."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sql

from fwplab.errors import UserError
from fwplab.files import home

SCHEMA = 2
"""The version of the tables."""
BUSY_SECONDS = 60
"""How long a process waits while others write to an SQLite file or create the tables."""
CREATE_AGAIN_SECONDS = 0.05
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""The waits between attempts to reach a database server; their sum of two minutes outlasts a restart."""
NEW_SECONDS = 10.0
"""How long a server is waited for that has never answered this process: its URL may be wrong."""
STARTING = "the database system is |too many clients|connection slots"
"""What a PostgreSQL server says that starts, stops or is full."""
REFUSING = r"authentication failed|no password supplied|does not exist|no pg_hba\.conf entry|permission denied"
"""What a PostgreSQL server says that will not take this URL later either."""
UNUSABLE = (sql.exc.SQLAlchemyError, ImportError, ValueError, TypeError, OverflowError)
"""The errors for a URL that no engine can be made of: no such driver, or options that the driver does not have."""
KINDS = r"(sqlite|postgresql|mysql|mariadb|oracle|mssql)(\+\w+)?"
SHORTEST_SECRET = 3
Result = TypeVar("Result")

_answered: set[tuple[str | None, int | None]] = set()
"""The hosts and ports of the servers that have answered this process."""


def database_url(url: str | None, file: str) -> sql.URL:
    """The URL of the database: `url`, or else FWPLAB_STORE, or else that of an SQLite file in FWPLAB_HOME.

    Raises `UserError` for an invalid URL.
    """
    chosen = url or os.environ.get("FWPLAB_STORE")
    if not chosen:
        return sql.URL.create("sqlite", database=str(home() / file))
    try:
        chosen.encode()  # half a character has no place in a URL
        address = sql.make_url(chosen)
    except (sql.exc.ArgumentError, ValueError) as error:  # their texts may quote the password
        raise invalid_url("this", "it does not read as one") from error
    kind = f"{address.drivername}://..." if re.fullmatch(KINDS, address.drivername) else "this"
    if address.get_backend_name() != "sqlite" and not re.fullmatch(r"[^@:/]*", address.database or ""):
        raise invalid_url(kind, "in its user and password an @ is written %40, a / %2F and a : %3A")
    if not re.fullmatch(r"[\w.:-]*", address.host or ""):
        raise invalid_url(kind, "its host has characters that no host has")
    return address


def shown(url: sql.URL) -> str:
    """A database URL for messages, without anything that may be a password. No other function prints a URL.

    >>> shown(sql.make_url("postgresql+psycopg://me:secret@host/records?password=secret"))
    'postgresql+psycopg://me:***@host/records'
    >>> shown(sql.make_url("sqlite:////home/me/records.sqlite"))
    '/home/me/records.sqlite'
    """
    path = sqlite_file(url)
    if path is not None:
        return str(path)
    return url.set(query={}).render_as_string(hide_password=True)


def sqlite_file(url: sql.URL) -> Path | None:
    """The file of an SQLite database; None for a server, and for a database in memory."""
    in_memory = url.database in (None, "", ":memory:") or str(url.database).startswith("file:")
    return None if url.get_backend_name() != "sqlite" or in_memory else Path(str(url.database))


def read_only(path: Path) -> sql.URL:
    """The URL that opens an SQLite file for reading only.

    The file is opened as immutable, unless there is a write-ahead log beside it.
    """
    log = path.with_name(f"{path.name}-wal")
    query = {"uri": "true", "mode": "ro"} | ({} if log.exists() and log.stat().st_size else {"immutable": "1"})
    return sql.URL.create("sqlite", database=f"file:{quote(str(path.absolute()))}", query=query)


def is_protected(path: Path) -> bool:
    """Whether the file can be read, but it or its folder, where SQLite logs changes, cannot be written."""
    return os.access(path, os.R_OK) and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def check_version(found: Sequence[int], where: str) -> None:
    """Raises `UserError` if the records in `where` have another schema than this version of fwplab writes."""
    if list(found) != [SCHEMA]:
        other = found[0] if found else "?"
        raise UserError(
            f"{where} has records of schema {other}, this version of fwplab writes {SCHEMA}; choose another FWPLAB_HOME"
        )


def invalid_url(which: str, why: object) -> UserError:
    """The error for a database URL that cannot be used. which: what may be shown of it."""
    return UserError(
        f"{which} is no database URL that can be used here ({why}); "
        "choose sqlite:////folder/file.sqlite or postgresql+psycopg://user:password@host/database"
    )


def unusable(url: sql.URL, error: sql.exc.DBAPIError) -> UserError:
    """The error for a database that answers with `error` when it is opened or read: it is damaged, or none at all."""
    said = database_message(error, url)
    if "malformed" in said:  # SQLite's word for a damaged page
        return UserError(
            f"{shown(url)} is damaged ({said}); save what can be read (SQLite: sqlite3 FILE .recover | sqlite3 NEW), "
            "or choose another FWPLAB_HOME"
        )
    return UserError(f"{shown(url)} cannot be used as a store ({said}); choose another FWPLAB_HOME or FWPLAB_STORE")


def checksum(*rows: Iterable[Any]) -> str:
    """The first sixteen hexadecimal digits of the SHA-256 of the values of these rows, as the database returns them."""
    return hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()[:16]


def database_message(error: BaseException, url: sql.URL) -> str:
    """The first line of the database's own error message, without any part of the URL that may be secret."""
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    for secret in sorted(_secrets(url), key=len, reverse=True):
        said = said.replace(secret, "***")
    return said


def wait_for_server(work: Callable[[], Result], url: sql.URL) -> Result:
    """The result of `work`, which is called again while the server of `url` is away, starts or stops.

    A server that has never answered this process is waited for during `NEW_SECONDS`, another one during the sum of
    `RETRY_SECONDS`. One that refuses the user, the password or the database is not waited for, nor is SQLite.

    Raises the last error of `work`.
    """
    server, waited = (url.host, url.port), 0.0
    for wait in () if url.get_backend_name() == "sqlite" else RETRY_SECONDS:
        try:
            result = work()
        except sql.exc.OperationalError as error:
            said = str(error.orig)
            if re.search(STARTING, said):
                _answered.add(server)
            left = wait if server in _answered else NEW_SECONDS - waited
            if left <= 0 or re.search(REFUSING, said):
                raise
            time.sleep(min(wait, left))
            waited += wait
        else:
            _answered.add(server)
            return result
    return work()


def _secrets(url: sql.URL) -> set[str]:
    """The parts of a URL that must not be shown: its password, and everything after the question mark."""
    values: list[Any] = [url.password, *url.query.values()]
    texts = {str(text) for value in values for text in (value if isinstance(value, tuple) else [value]) if text}
    known = {"true", "false", "disable", "require", "prefer", "ro"}
    forms = {form for text in texts - known for form in (text, quote(text, safe=""), repr(text)[1:-1])}
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


def create_tables(create: Callable[[], Result]) -> Result:
    """Calls `create`, which creates missing tables, and repeats it if another process creates the same tables."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return create()
        except sql.exc.DBAPIError as error:
            raced = isinstance(error, sql.exc.IntegrityError) or re.search("already exists|locked", str(error.orig))
            if not raced or time.monotonic() > deadline:
                raise
        time.sleep(CREATE_AGAIN_SECONDS)
