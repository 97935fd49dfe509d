"""Parquet archives of others, and database URLs."""

import hashlib
import io
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
from hypothesis import strategies as st
from tests.fuzz.door import Door
from tests.fuzz.values import changed, damaged, json_texts, json_values, words
from tests.report.test_report import RECORDS

from fwplab.errors import UserError
from fwplab.files import CHECKSUMS
from fwplab.storage.archive import MEMORY, NAMES, open_archive, write_archive
from fwplab.storage.store import Store

MANY = 25_000_000
"""The rows of a table that takes little space in its file and much in memory."""
JSON_COLUMNS = ("spec", "environment", "selected")


class Archive(NamedTuple):
    """The files of an archive by name, and whether their checksums are right."""

    contents: dict[str, bytes]
    signed: bool


@cache
def base() -> dict[str, bytes]:
    """The files of a small archive."""
    with tempfile.TemporaryDirectory() as name, Store(MEMORY) as store:
        folder = Path(name) / "archive"
        for record in RECORDS[:2]:
            store.save(record)
        write_archive([store], [record.run.key for record in RECORDS[:2]], folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@cache
def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a table of the small archive."""
    return list(pyarrow.parquet.read_table(io.BytesIO(base()[name])).to_pylist())[:6]


@cache
def many_rows(name: str) -> bytes:
    """A table of `MANY` equal rows in a small file."""
    values = rows(name)[0]
    columns = {
        column: pyarrow.DictionaryArray.from_arrays(pyarrow.array(bytes(MANY // 50), pyarrow.int8()), [values[column]])
        if isinstance(values[column], str)
        else pyarrow.array([values[column]] * (MANY // 50))
        for column in values
    }
    piece, out = pyarrow.table(columns), io.BytesIO()
    with pyarrow.parquet.ParquetWriter(out, piece.schema, compression="zstd") as writer:
        for _ in range(50):
            writer.write_table(piece)
    return out.getvalue()


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    """An archive with changed rows, columns, files or bytes."""
    contents = dict(base())
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(NAMES))
        kind = draw(st.sampled_from(("rows", "rows", "rows", "json", "columns", "bytes", "remove", "swap")))
        if kind == "rows":
            contents[name] = _table(draw(changed(rows(name))), base()[name])
        elif kind == "json":
            name = draw(st.sampled_from(("runs.parquet", "members.parquet")))
            new = [dict(row) for row in rows(name)]
            field = draw(st.sampled_from([field for field in JSON_COLUMNS if field in new[0]]))
            new[0][field] = draw(json_texts(json.loads(new[0][field])))
            contents[name] = _table(new, base()[name])
        elif kind == "columns":
            new = [{draw(words): value for value in row.values()} for row in rows(name)[:2]]
            contents[name] = _table(new, base()[name])
        elif kind == "bytes":
            contents[name] = draw(damaged(contents.get(name, b"")))
        elif kind == "remove":
            contents.pop(name, None)
        else:
            contents[name] = base()[draw(st.sampled_from(NAMES))]
    return Archive(contents, draw(st.booleans()))


def _table(values: Any, otherwise: bytes) -> bytes:
    """A Parquet file of these rows, if such rows can be written."""
    out = io.BytesIO()
    try:
        table = pyarrow.Table.from_pylist(values)
        pyarrow.parquet.write_table(table, out)
    except (pyarrow.ArrowException, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return otherwise
    return out.getvalue()


def read_archive(case: Archive, folder: Path) -> None:
    """An archive is opened, and all its records are read."""
    place = folder / "archive"
    place.mkdir()
    for name, content in case.contents.items():
        if name != CHECKSUMS:
            (place / name).write_bytes(content)
    if case.signed:
        lines = [f"{hashlib.sha256(case.contents[n]).hexdigest()}  {n}\n" for n in sorted(NAMES) if n in case.contents]
        (place / CHECKSUMS).write_text("".join(lines))
    with open_archive(place) as store:
        for record in store.records():
            store.load(record.run.key)


def read_many_rows(name: str, folder: Path) -> None:
    """A table of many rows is refused before it is unpacked."""
    read_archive(Archive({**base(), name: many_rows(name)}, signed=False), folder)
    raise AssertionError(f"{MANY:,} rows were read")


SCHEMES = (
    "sqlite", "sqlite", "postgresql+psycopg", "postgresql", "mysql", "mysql+pymysql", "oracle", "mssql",
    "sqlite+pysqlcipher", "sqlite+aiosqlite", "postgres", "http", "", "SQLITE",
)  # fmt: skip


class Address(NamedTuple):
    """A database URL, and the password in it."""

    url: str
    password: str


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    """A URL of a database that does not answer, or of none. Its host is never looked up."""
    password = draw(
        st.sampled_from(("secret-word", "pass word", "p@ss/w:rd?x", "\ud800secret", "sécret", "100%secret", "[secret]"))
    )
    scheme = draw(st.sampled_from(SCHEMES) | words)
    user = draw(st.sampled_from((f"me:{password}@", f":{password}@", f"me:{password}@", "", ":@", "@")))
    host = draw(
        st.sampled_from(
            ("", "127.0.0.1:1", "127.0.0.1:1", "[::1]:1", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:-1", "[::1")
        )
    )
    database = draw(
        st.sampled_from(("", "/db", "/db/x", "/:memory:", "//", "/a?b", "/%00", "/../x.sqlite"))
        | words.map(lambda text: "/" + text.lstrip("/"))
    )
    query = draw(
        st.sampled_from(
            (
                "",
                "?",
                f"?password={password}",
                f"?sslpassword={password}&x",
                "?timeout=x",
                "?uri=true&mode=ro",
                "?connect_timeout=1",
                "?x=1&x=2",
                "?cache=shared",
                "?host=127.0.0.1",
                "?isolation_level=x",
            )
        )
    )
    separator = draw(st.sampled_from(("://", "://", "://", "://", ":", "", ":/")))
    return Address(f"{scheme}{separator}{user}{host}{database}{query}", password)


def open_store(case: Address, folder: Path) -> None:
    """A store at the URL. A message has nothing of the password."""
    try:
        with Store(case.url) as store:
            store.records()
    except UserError as error:
        if case.password in str(error):
            raise AssertionError(f"the message has the password: {error}") from None
        raise


def open_any(url: Any, folder: Path) -> None:
    """A store at any text."""
    with Store(url if isinstance(url, str) else repr(url)) as store:
        store.records()


DOORS = (
    Door("Parquet archives", archives(), read_archive, 4_000, 20),
    Door("archives of many rows", st.sampled_from(NAMES), read_many_rows, 8, 1),
    Door("database URLs", addresses(), open_store, 4_600, 30),
    Door("database URLs of any text", words | json_values, open_any, 1_800, 20),
)
