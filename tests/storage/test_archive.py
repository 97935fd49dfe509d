"""Records as Parquet files: they are read back unchanged, and damaged or incomplete archives are refused."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
from sqlalchemy import Table
from tests.storage.test_store import RUN, record_of

from fwplab.errors import UserError
from fwplab.files import CHECKSUMS
from fwplab.storage.archive import MOST_ROWS, TABLES, open_archive, shipped, shipped_checkpoints, write_archive
from fwplab.storage.database import SCHEMA
from fwplab.storage.store import Store
from fwplab.storage.tables import PARTS, measurements, metadata, runs
from fwplab.studies import STUDIES
from fwplab.training.checkpoint import load_checkpoint
from fwplab.training.evaluate import score as right
from fwplab.training.run_splits import load_splits

OTHER = replace(RUN, learning_rates=(2e-3,))


def test_records_are_read_back_and_the_first_store_has_precedence(tmp_path: Path) -> None:
    with Store("sqlite:///:memory:") as first, Store("sqlite:///:memory:") as second:
        first.save(record_of(RUN))
        second.save(replace(record_of(RUN), seconds=99.0))
        second.save(record_of(OTHER))
        write_archive([first, second], [RUN.key, OTHER.key, "nowhere"], tmp_path)
        finished = {row["key"]: row["finished"] for row in [*first.rows(_runs()), *second.rows(_runs())][::-1]}
    with open_archive(tmp_path) as found:
        assert {record.run.key: record for record in found.records()} == {
            RUN.key: record_of(RUN),
            OTHER.key: record_of(OTHER),
        }
        assert {row["key"]: row["finished"] for row in found.rows(_runs())} == finished


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.storage.test_store import RUN, record_of
from fwplab.storage.archive import write_archive
from fwplab.errors import UserError
from fwplab.files import CHECKSUMS
from fwplab.storage.store import Store
try:
    with Store() as store:
        store.save(record_of(RUN, checks=2_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.RLIM_INFINITY))
        write_archive([store], [RUN.key], Path(sys.argv[1]))
except UserError as error:
    print(error)
    sys.exit(2)
"""


def test_a_full_disk_leaves_no_partial_archive(tmp_path: Path) -> None:
    def write() -> None:
        command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "records")]
        ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout.strip()) == (
            2,
            f"cannot write {tmp_path / 'records'}: File too large; choose a writable folder on a disk with free space",
        ), ended.stderr

    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    write()
    assert not (tmp_path / "records").exists()
    with Store("sqlite:///:memory:") as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], tmp_path / "records")
    (tmp_path / "records" / "checkpoints").mkdir()
    before = sorted((tmp_path / "records").iterdir())
    write()
    assert sorted((tmp_path / "records").iterdir()) == before
    with open_archive(tmp_path / "records") as found:
        assert found.records() == [record_of(RUN)]


def test_an_archive_is_replaced_and_other_files_in_its_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "kept").write_text("as it was")
    with Store() as store:
        store.save(record_of(RUN))
        store.save(record_of(OTHER))
        write_archive([store], [RUN.key], tmp_path)
        write_archive([store], [OTHER.key], tmp_path)
    with open_archive(tmp_path) as found:
        assert found.records() == [record_of(OTHER)]
    assert (tmp_path / "checkpoints" / "kept").read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize("table", [runs, *PARTS], ids=lambda table: table.name)
def test_an_archive_that_lacks_a_table_is_refused(table: Table, tmp_path: Path) -> None:
    with Store() as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], tmp_path)
    (tmp_path / f"{table.name}.parquet").unlink()
    with pytest.raises(UserError, match=rf"lacks its file {table.name}\.parquet"):
        open_archive(tmp_path)
    (tmp_path / CHECKSUMS).unlink()  # former versions wrote no checksums
    if table is measurements:  # former versions had no measurements
        open_archive(tmp_path).close()
    else:
        with pytest.raises(UserError, match=rf"{table.name}.parquet is no table of records"):
            open_archive(tmp_path)


def test_every_flipped_bit_and_every_truncation_of_an_archive_is_an_error(tmp_path: Path) -> None:
    with Store() as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], tmp_path)
    draw = random.Random(0)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) == len(TABLES) + 1
    for path in files:
        content = path.read_bytes()
        for place in [0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(20))]:
            flipped = bytearray(content)
            flipped[place] ^= 1 << draw.randrange(8)
            for damaged in (flipped, content[:place]):
                path.write_bytes(damaged)
                with pytest.raises(UserError, match=r"has changed since it was written|lacks its file"):
                    open_archive(tmp_path)
        path.write_bytes(content)
    open_archive(tmp_path).close()


def _runs():  # type: ignore[no-untyped-def]
    return metadata.tables["runs"].select()


def test_an_archive_has_the_tables_of_the_store(tmp_path: Path) -> None:
    with Store() as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], tmp_path)
    assert {path.stem for path in tmp_path.iterdir() if path.is_file()} == {*metadata.tables, CHECKSUMS} - {"checksums"}
    scores = pyarrow.parquet.read_table(tmp_path / "scores.parquet").to_pylist()
    assert len(scores) == 8
    assert {row["run"] for row in scores} == {RUN.key}


def test_a_folder_that_is_no_archive_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"versions.parquet is no table of records"):
        open_archive(tmp_path)
    with Store() as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], tmp_path)
    (tmp_path / CHECKSUMS).unlink()
    versions = pyarrow.table({"schema": [SCHEMA + 1]})
    pyarrow.parquet.write_table(versions, tmp_path / "versions.parquet")
    with pytest.raises(UserError, match=f"records of schema {SCHEMA + 1}, this version of fwplab writes {SCHEMA}"):
        open_archive(tmp_path)
    (tmp_path / "versions.parquet").write_text("nonsense")
    with pytest.raises(UserError, match=r"versions.parquet is no table of records"):
        open_archive(tmp_path)


@pytest.mark.parametrize("name", STUDIES.own_names())
def test_every_shipped_record_belongs_to_a_run_of_its_study(name: str) -> None:
    study = STUDIES.load(name)()
    with shipped(name) as store:
        planned = {replace(run, seeds=(0,), learning_rates=(1.0,)) for run in study.runs(quick=False)}
        assert all(replace(r.run, seeds=(0,), learning_rates=(1.0,)) in planned for r in store.records())


def test_shipped_checkpoints_belong_to_shipped_records_and_score_the_same() -> None:
    with shipped("irie2023", "counting") as store:
        records = {record.run.key: record for record in store.records()}
    assert len(shipped_checkpoints()) > len(shipped_checkpoints("counting")) > 0
    rescored = 0
    for path in shipped_checkpoints():
        checkpoint = load_checkpoint(path)
        record = records[checkpoint.run.key]
        (member,) = (each for each in record.members if each.seed == checkpoint.seed)
        assert member.selected["paper"] == checkpoint.step
        if record.run.language == "aa_star":  # few strings, so that evaluating them again is quick
            score = member.score("paper", "bin0")
            assert score is not None
            assert score.correct == right(checkpoint.model(), load_splits(record.run).bin0)[0]
            rescored += 1
    assert rescored


def test_a_small_file_of_very_many_rows_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with Store("sqlite:///:memory:") as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], tmp_path / "records")
    path = tmp_path / "records" / "checks.parquet"
    (tmp_path / "records" / "SHA256SUMS").unlink()
    found = pyarrow.parquet.read_table(path)
    column = pyarrow.nulls(MOST_ROWS + 1)
    pyarrow.parquet.write_table(pyarrow.table(dict.fromkeys(found.column_names, column)), path)
    assert path.stat().st_size < 10_000_000
    with pytest.raises(UserError, match=f"it has {MOST_ROWS + 1:,} rows; choose a table of at most"):
        open_archive(tmp_path / "records")


def test_a_long_text_that_every_row_repeats_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with Store("sqlite:///:memory:") as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], tmp_path / "records")
    path = tmp_path / "records" / "runs.parquet"
    (tmp_path / "records" / "SHA256SUMS").unlink()
    found = pyarrow.parquet.read_table(path)
    rows, text = 4_000, pyarrow.array(["x" * 400_000])
    repeated = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * rows, pyarrow.int8()), text)
    columns = {name: pyarrow.nulls(rows) for name in found.column_names} | {"spec": repeated}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert path.stat().st_size < 10_000_000
    with pytest.raises(UserError, match="its texts are too long; choose a table of at most"):
        open_archive(tmp_path / "records")
