"""The URL of the database, its messages, and the creation of its tables by several processes at once."""

import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sql

from fwplab.errors import UserError
from fwplab.files import home

BUSY_SECONDS = 60
"""How long a process waits while others write to an SQLite file or create the tables."""
CREATE_AGAIN_SECONDS = 0.05
NO_DRIVER = (sql.exc.NoSuchModuleError, ImportError)
"""The errors for a URL whose database driver is unknown or not installed."""
Result = TypeVar("Result")


def database_url(url: str | None, file: str) -> str:
    """The URL of the database: `url`, or else FWPLAB_STORE, or else that of an SQLite file in FWPLAB_HOME.

    Raises `UserError` for an invalid URL.
    """
    chosen = url or os.environ.get("FWPLAB_STORE") or f"sqlite:///{home() / file}"
    try:
        address = sql.make_url(chosen)
    except (sql.exc.ArgumentError, ValueError) as error:  # their texts may quote the password
        raise invalid_url(chosen.partition(":")[0], "it does not read as one") from error
    if address.password is not None and "@" in f"{address.host}{address.database}":
        raise invalid_url(address.drivername, "an @ of the password is written %40")
    return chosen


def without_password(url: str) -> str:
    """A database URL for messages, without its password.

    >>> without_password("postgresql+psycopg://me:secret@host/records?password=secret")
    'postgresql+psycopg://me:***@host/records'
    """
    return sql.make_url(url).set(query={}).render_as_string(hide_password=True)


def invalid_url(url: str, why: object) -> UserError:
    """The error for a database URL that cannot be used."""
    return UserError(
        f"{url!r} is no database URL that can be used here ({why}); "
        "choose sqlite:////folder/file.sqlite or postgresql+psycopg://user:password@host/database"
    )


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


def database_message(error: sql.exc.DBAPIError) -> str:
    """The first line of the database's own error message."""
    return str(error.orig).strip().partition("\n")[0]
