"""Which database is meant, how its URL may be shown, and how many processes open it at once."""

import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sql

from fwplab.errors import UserError
from fwplab.files import home

BUSY_SECONDS = 60
OPEN_AGAIN_SECONDS = 0.05
NO_DRIVER = (sql.exc.NoSuchModuleError, ImportError)
"""What is raised for a URL whose kind of database is unknown or cannot be used here."""
Found = TypeVar("Found")


def database(url: str | None, file: str) -> str:
    """The URL of the database that is meant: `url`, or FWPLAB_STORE, or a file of FWPLAB_HOME."""
    found = url or os.environ.get("FWPLAB_STORE") or f"sqlite:///{home() / file}"
    try:
        address = sql.make_url(found)
    except (sql.exc.ArgumentError, ValueError) as error:  # their texts may quote the password
        raise unusable(found.partition(":")[0], "it does not read as one") from error
    if address.password is not None and "@" in f"{address.host}{address.database}":
        raise unusable(address.drivername, "an @ of the password is written %40")
    return found


def shown(url: str) -> str:
    """A database URL as it may be printed: without its password.

    >>> shown("postgresql+psycopg://me:secret@host/records?password=secret")
    'postgresql+psycopg://me:***@host/records'
    """
    return sql.make_url(url).set(query={}).render_as_string(hide_password=True)


def unusable(url: str, why: object) -> UserError:
    """The line for a URL that cannot be used."""
    return UserError(
        f"{url!r} is no database URL that can be used here ({why}); "
        "choose sqlite:////folder/file.sqlite or postgresql+psycopg://user:password@host/database"
    )


def opened(make: Callable[[], Found]) -> Found:
    """`make()`, which makes the tables of a database that lacks them; again while others make them too."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return make()
        except sql.exc.DBAPIError as error:
            raced = isinstance(error, sql.exc.IntegrityError) or re.search("already exists|locked", str(error.orig))
            if not raced or time.monotonic() > deadline:
                raise
        time.sleep(OPEN_AGAIN_SECONDS)


def database_message(error: sql.exc.DBAPIError) -> str:
    """The first line of what the database said."""
    return str(error.orig).strip().partition("\n")[0]
