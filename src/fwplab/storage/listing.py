"""A list of the finished runs in a store, without PyTorch and without reading more than the list shows."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import sqlalchemy as sql
from sqlalchemy import column

from fwplab.errors import UserError, one_line
from fwplab.errors import shown as quoted
from fwplab.storage.database import (
    UNUSABLE,
    check_version,
    checksum,
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

READ_AT_ONCE = 1_000
"""How many rows are fetched at once, which is much faster than one at a time."""
STATUSES = ("solved", "budget", "diverged")
RUNS = sql.table("runs", *map(column, ("key", "language", "mixer", "spec", "seconds", "finished")))
MEMBERS = sql.table("members", *map(column, ("run", "place", "seed", "status")))
VERSIONS = sql.table("versions", column("schema"))
CHECKSUMS = sql.table("checksums", column("run"), column("listed"))


def list_runs(*, language: str | None = None, mixer: str | None = None) -> Iterator[dict[str, Any]]:
    """The key, mixer, language, task, seeds, status and seconds of every finished run, in the order of completion.

    Also whether it was written with a checksum, which former versions did not do. A row that cannot be read or has
    changed is named on standard error and left out.

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
            with ExitStack() as opened:
                # PostgreSQL's driver has all rows at the end of a query: from here on no server is needed.
                yield from _facts(*wait_for_server(lambda: _queried(engine, opened, shown(url), language, mixer), url))
        finally:
            engine.dispose()
    except UserError:
        raise
    except sql.exc.DBAPIError as error:
        raise unusable(url, error) from error
    except UNUSABLE as error:
        raise invalid_url(shown(url), database_message(error, url)) from error


def _queried(
    engine: sql.Engine, opened: ExitStack, where: str, language: str | None, mixer: str | None
) -> tuple[sql.CursorResult[Any], dict[str, list[tuple[Any, Any, Any]]], dict[str, str]]:
    """The rows of the runs, not fetched yet; their members, and the checksums of what is listed, by key."""
    connection = opened.enter_context(engine.connect())
    check_version(connection.execute(sql.select(VERSIONS)).scalars().all(), where)
    filters = [RUNS.c[name] == value for name, value in (("language", language), ("mixer", mixer)) if value]
    of_run = sql.select(RUNS.c.key).where(*filters)
    query = sql.select(MEMBERS.c.run, MEMBERS.c.place, MEMBERS.c.seed, MEMBERS.c.status).order_by(MEMBERS.c.place)
    members: dict[str, list[tuple[Any, Any, Any]]] = defaultdict(list)
    for run, *member in connection.execute(query.where(MEMBERS.c.run.in_(of_run)) if filters else query).all():
        members[run].append(tuple(member))
    written = _checksums(connection)
    heads = connection.execute(sql.select(RUNS).where(*filters).order_by(RUNS.c.finished, RUNS.c.key))
    return heads, members, written


def _facts(
    heads: sql.CursorResult[*tuple[Any, ...]], members: dict[str, list[tuple[Any, Any, Any]]], written: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for head in chain.from_iterable(heads.partitions(READ_AT_ONCE)):
        key, language, mixer = head[:3]
        try:
            yield _fact(head, members.get(key, []), written.get(key))
        except UserError as error:
            which = one_line(f"run {key} of {mixer} on {language}")
            print(f"fwplab: {which} cannot be read here and is left out: {error}", file=sys.stderr)


def _checksums(connection: sql.Connection) -> dict[str, str]:
    """The checksum of what is listed of each run, by its key."""
    if not sql.inspect(connection).has_table(CHECKSUMS.name):
        return {}
    return dict(map(tuple, connection.execute(sql.select(CHECKSUMS))))


def _fact(head: Sequence[Any], members: list[tuple[Any, Any, Any]], written: str | None) -> dict[str, Any]:
    key, language, mixer, text, seconds, _ = head
    try:
        spec = json.loads(text)
        asked, known = spec["seeds"], (spec["language"], spec["mixer"]["name"])
        task = spec["protocol"]["splits"].get("task", "transduction")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"its spec is no spec of a run: {type(error).__name__}") from error
    if known != (language, mixer) or not isinstance(task, str):
        raise UserError(f"its spec is that of {quoted(known[1])} on {quoted(known[0])}")
    for _, seed, status in members:
        if status not in STATUSES or seed not in asked:
            raise UserError(f"it has the seed {quoted(seed)} with the status {quoted(status)}")
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise UserError(f"it has taken {quoted(seconds)} seconds")
    if written is not None and written != checksum(head, *members):
        raise UserError("its values have changed since they were written: the checksums differ")
    return {
        "key": key,
        "mixer": mixer,
        "language": language,
        "task": task,
        "seeds": asked,
        "status": [status for _, _, status in members],
        "seconds": seconds,
        "checked": written is not None,
    }
