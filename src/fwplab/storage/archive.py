"""Records as Parquet files, one for each table of the store, for data frames and for shipping with the package.

Parquet is small, keeps the types, and can be read by most data tools. `SHA256SUMS` has the checksums of the files. The
records of the baseline studies are shipped in `fwplab/baselines/<study>/`.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet
import sqlalchemy as sql

from fwplab.errors import UserError
from fwplab.files import CHECKSUMS, check_checksums, sync, temporary_folder, write_checksums, writes_to
from fwplab.storage.database import check_version
from fwplab.storage.store import Store
from fwplab.storage.tables import PARTS, measurements, runs, versions

TABLES = [versions, runs, *sorted(PARTS, key=lambda table: table.name)]
"""The tables of an archive, whose files have checksums of their own."""
NAMES = [f"{table.name}.parquet" for table in TABLES]
MEMORY = "sqlite:///:memory:"
MOST_ROWS = 20_000_000
"""The most rows of a table."""
MOST_CHARACTERS = 2**30
"""The most characters of all texts of a table. A file may say a long text once and repeat it in every row."""
ROWS_AT_ONCE = 5_000
TYPES = {sql.Integer: pyarrow.int64(), sql.Float: pyarrow.float64(), sql.String: pyarrow.string()}


def write_archive(stores: Sequence[Store], keys: Collection[str], folder: Path) -> None:
    """Writes the runs with these keys as `folder/<table>.parquet`, each from the first store that has it."""
    owners = {key: store for store in reversed(stores) for key in keys if store.has(key)}
    with _replaced_folder(folder) as temporary:
        for table in TABLES:
            rows: list[dict[str, Any]] = []
            for key in sorted(owners) if table is not versions else []:
                column = table.c.key if table is runs else table.c.run
                rows += owners[key].rows(sql.select(table).where(column == key).order_by(*table.primary_key.columns))
            if table is versions:
                rows = stores[0].rows(sql.select(table))
            _write(rows, _schema(table), _file(temporary, table))


@contextmanager
def _replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to write tables into; they replace those of `folder` if the block succeeds.

    The old `versions` file is deleted first and the new one is moved last. A folder without it is no archive, so a kill
    at any time leaves no mixture of old and new tables that could be read.
    """
    with writes_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary_folder(folder / "records") as temporary:
                yield temporary
                write_checksums(temporary, NAMES)
                _file(folder, versions).unlink(missing_ok=True)
                for name in [*reversed(NAMES[1:]), CHECKSUMS, NAMES[0]]:
                    (temporary / name).replace(folder / name)
                sync(folder)
        finally:
            if not any(folder.iterdir()):
                folder.rmdir()


def open_archive(folder: Path) -> Store:
    """A store in memory with the records that `write_archive` wrote to `folder`.

    Raises `UserError` if the folder is no archive.
    """
    return _loaded(folder)


def shipped(*studies: str) -> Store:
    """The records of these studies that come with the package, in a store in memory; empty if there are none."""
    places = [files("fwplab") / "baselines" / study for study in studies]
    with ExitStack() as stack:
        return _loaded(*(stack.enter_context(as_file(place)) for place in places if place.is_dir()))


def _loaded(*folders: Path) -> Store:
    """A store in memory with the records of several archives, which have no run in common."""
    store = Store(MEMORY)
    try:
        with store.engine.begin() as connection:
            for folder, table in itertools.product(folders, TABLES):
                path = _file(folder, table)
                if table is versions and path.exists():
                    check_checksums(folder, NAMES)
                if table is measurements and not path.exists():  # older archives have no such table
                    continue
                for rows in _read(path, table):
                    if table is versions:
                        check_version([row["schema"] for row in rows], str(folder))
                    elif rows:
                        _insert(connection, table, rows, path)
    except BaseException:
        store.close()
        raise
    return store


def _insert(connection: sql.Connection, table: sql.Table, rows: list[dict[str, Any]], path: Path) -> None:
    try:
        connection.execute(table.insert(), rows)
    except (
        sql.exc.SQLAlchemyError,
        ValueError,
        OverflowError,
    ) as error:  # two rows of one place, or a text's half character
        why = str(getattr(error, "orig", error))
        raise UserError(f"{path} is no table of records ({why})") from error


def shipped_checkpoints(*studies: str) -> list[Path]:
    """The checkpoints that come with the package: the first seed of each language and model, selected by "paper".

    studies: only those of these studies; by default of all.
    """
    found = sorted(Path(str(files("fwplab") / "baselines")).glob("*/checkpoints/*.safetensors"))
    return [path for path in found if not studies or path.parent.parent.name in studies]


def _characters(column: pyarrow.Array) -> int:
    """The characters of a column of texts, each text with its repetitions; 0 for other columns."""
    if not pyarrow.types.is_dictionary(column.type):
        return 0
    lengths = pyarrow.compute.binary_length(column.dictionary)
    return int(pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0)


def _file(folder: Path, table: sql.Table) -> Path:
    return folder / f"{table.name}.parquet"


def _schema(table: sql.Table) -> pyarrow.Schema:
    kinds = {c.name: next(t for kind, t in TYPES.items() if isinstance(c.type, kind)) for c in table.columns}
    return pyarrow.schema(list(kinds.items()))


def _write(rows: list[dict[str, Any]], schema: pyarrow.Schema, path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path, compression="zstd")
    sync(path)


def _read(path: Path, table: sql.Table) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, in the store's columns and their types, a part at a time; at least one part.

    Raises `UserError` for any other file, and for one that is too large before it is unpacked: a small file may have
    10^12 rows.
    """
    names, texts = table.columns.keys(), 0
    try:
        facts = pyarrow.parquet.read_metadata(path)
        schema = facts.schema.to_arrow_schema()
        columns = schema.names
        if sorted(columns) != sorted(names):
            raise UserError(f"its columns are {', '.join(columns)}, not {', '.join(names)}")
        if facts.num_rows > MOST_ROWS:
            raise UserError(f"it has {facts.num_rows:,} rows; choose a table of at most {MOST_ROWS:,}")
        if facts.num_rows == 0:
            yield []
        words = [field.name for field in schema if pyarrow.types.is_string(field.type)]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=words, metadata=facts) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                texts += sum(map(_characters, batch.columns))
                if texts > MOST_CHARACTERS:
                    raise UserError(f"its texts are too long; choose a table of at most {MOST_CHARACTERS:,} characters")
                yield pyarrow.Table.from_batches([batch]).select(names).cast(_schema(table)).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException, OverflowError) as error:
        raise UserError(f"{path} is no table of records ({error})") from error
