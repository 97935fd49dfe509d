"""A list of the finished runs in a store, without PyTorch and without reading more than the list shows."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sql
from sqlalchemy import column

from fwplab.errors import UserError, one_line
from fwplab.errors import shown as quoted
from fwplab.storage.database import (
    UNUSABLE,
    check_version,
    database_message,
    database_url,
    invalid_url,
    is_protected,
    read_only,
    shown,
    sqlite_file,
)

STATUSES = ("solved", "budget", "diverged")
RUNS = sql.table("runs", *map(column, ("key", "language", "mixer", "spec", "seconds", "finished")))
MEMBERS = sql.table("members", *map(column, ("run", "place", "seed", "status")))
VERSIONS = sql.table("versions", column("schema"))


def list_runs(*, language: str | None = None, mixer: str | None = None) -> Iterator[dict[str, Any]]:
    """The key, mixer, language, task, seeds, status and seconds of every finished run, in the order of completion.

    A row that cannot be read is named on standard error and left out.

    language, mixer: names of the catalogues; None for all.

    Raises `UserError` if the database cannot be read.
    """
    url = database_url(None, "records.sqlite")
    path = sqlite_file(url)
    if path is not None and not path.exists():
        return
    protected = path is not None and is_protected(path)
    try:
        engine = sql.create_engine(read_only(path) if path is not None and protected else url)
        try:
            with engine.connect() as connection:
                check_version(connection.execute(sql.select(VERSIONS)).scalars().all(), shown(url))
                yield from _facts(connection, language, mixer)
        finally:
            engine.dispose()
    except UserError:
        raise
    except sql.exc.DBAPIError as error:
        raise UserError(
            f"{shown(url)} cannot be used as a store ({database_message(error, url)}); "
            "choose another FWPLAB_HOME or FWPLAB_STORE"
        ) from error
    except UNUSABLE as error:
        raise invalid_url(shown(url), database_message(error, url)) from error


def _facts(connection: sql.Connection, language: str | None, mixer: str | None) -> Iterator[dict[str, Any]]:
    filters = [RUNS.c[name] == value for name, value in (("language", language), ("mixer", mixer)) if value]
    of_run = sql.select(RUNS.c.key).where(*filters)
    query = sql.select(MEMBERS.c.run, MEMBERS.c.seed, MEMBERS.c.status).order_by(MEMBERS.c.place)
    members: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for run, seed, status in connection.execute(query.where(MEMBERS.c.run.in_(of_run)) if filters else query):
        members[run].append((seed, status))
    heads = connection.execute(sql.select(RUNS).where(*filters).order_by(RUNS.c.finished, RUNS.c.key))
    for head in heads:
        try:
            yield _fact(head, members.get(head.key, []))
        except UserError as error:
            which = one_line(f"run {head.key} of {head.mixer} on {head.language}")
            print(f"fwplab: {which} cannot be read here and is left out: {error}", file=sys.stderr)


def _fact(head: sql.Row[Any], members: list[tuple[Any, Any]]) -> dict[str, Any]:
    try:
        spec = json.loads(head.spec)
        asked, language, mixer = spec["seeds"], spec["language"], spec["mixer"]["name"]
        task = spec["protocol"]["splits"].get("task", "transduction")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"its spec is no spec of a run: {type(error).__name__}") from error
    if (language, mixer) != (head.language, head.mixer) or not isinstance(task, str):
        raise UserError(f"its spec is that of {quoted(mixer)} on {quoted(language)}")
    for seed, status in members:
        if status not in STATUSES or seed not in asked:
            raise UserError(f"it has the seed {quoted(seed)} with the status {quoted(status)}")
    if not isinstance(head.seconds, int | float) or not 0 <= head.seconds < float("inf"):
        raise UserError(f"it has taken {quoted(head.seconds)} seconds")
    return {
        "key": head.key,
        "mixer": mixer,
        "language": language,
        "task": task,
        "seeds": asked,
        "status": [status for _, status in members],
        "seconds": head.seconds,
    }
