"""A store with changed values, a damaged file, or no write permission: all readable records are shown."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from tests.engines.test_engines import returns_at_once
from tests.storage.test_store import RUN, record_of

from fwplab.cli import run as command
from fwplab.engines import Local, train_all
from fwplab.errors import UserError
from fwplab.storage.archive import NAMES, open_archive, write_archive
from fwplab.storage.store import Store
from fwplab.storage.tables import PARTS, runs
from fwplab.studies import STUDIES
from fwplab.training.record import Measurement, Record

GOOD, BAD = (replace(RUN, seeds=(seed,)) for seed in (0, 1))
WRONG: list[Any] = [None, "words", b"\xff\x00", -1, 2**62, 1e300, "[]", "{", '{"name": []}', "NaN", "x" * 5_000]


@contextmanager
def database(home: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the file of the store, without foreign key checks."""
    with closing(sqlite3.connect(home / "records.sqlite")) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        yield connection


def fill(home: Path) -> None:
    with Store() as store:
        for run in (GOOD, BAD):
            store.save(record_of(run))
            store.measure(run.key, run.seeds[0], [Measurement("probing", "paper", 10, "share", 0.5)])


def read(store: Store) -> tuple[list[Record], list[str]]:
    """All records, and the warnings about those that are left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = store.records()
    return records, [str(each.message) for each in caught]


COLUMNS = [(table.name, column.name) for table in (runs, *PARTS) for column in table.columns]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(each) for each in COLUMNS])
def test_a_wrong_value_in_any_column_hides_no_other_record(table: str, column: str, home: Path) -> None:
    fill(home)
    with Store() as store:
        expected = {record.run.key: record for record in store.records()}
    whole = (home / "records.sqlite").read_bytes()
    warned = 0
    for wrong in WRONG:
        (home / "records.sqlite").write_bytes(whole)
        key = "key" if table == "runs" else "run"
        try:
            with database(home) as connection:
                connection.execute(f'UPDATE {table} SET "{column}" = ? WHERE {key} = ?', (wrong, BAD.key))
        except sqlite3.IntegrityError:  # the database refuses it
            continue
        with Store() as store:
            found, lines = read(store)
        assert expected[GOOD.key] in found
        assert all(line.startswith("fwplab: run ") and " is left out: " in line and len(line) < 2_500 for line in lines)
        warned += bool(lines)
    harmless = {"finished", "name", "study", "split", "length", "shortest", "longest", "run", "place", "step"}
    assert warned or column in harmless


def test_a_record_with_changed_values_is_left_out_with_a_warning(home: Path) -> None:
    changes = {
        "spec": "UPDATE runs SET spec = replace(spec, '\"max_steps\": 5000', '\"max_steps\": 4000')",
        "language": "UPDATE runs SET language = 'dyck_1'",
        "mixer": "UPDATE runs SET mixer = 'lstm'",
        "status": "UPDATE members SET status = 'fine'",
        "rule": "UPDATE scores SET rule = 'best'",
        "score": "UPDATE scores SET correct = strings + 1",
        "accuracy": "UPDATE checks SET bin0_accuracy = 1.5",
        "rate": "UPDATE members SET learning_rate = 0.5",
        "seed": "UPDATE members SET seed = 7",
        "steps": "UPDATE members SET steps = 5001",
        "selected": "UPDATE members SET selected = '{\"best\": 1}'",
        "environment": "UPDATE runs SET environment = '[]'",
        "member": "UPDATE checks SET member = 5",
        "distinct": 'UPDATE splits SET "distinct" = strings + 1',
        "chance": "UPDATE chance SET majority = -1",
    }
    fill(home)
    whole = (home / "records.sqlite").read_bytes()
    for changed, change in changes.items():
        (home / "records.sqlite").write_bytes(whole)
        with database(home) as connection:
            connection.execute(f"{change} WHERE {'key' if ' runs ' in change else 'run'} = ?", (BAD.key,))
        with Store() as store:
            found, lines = read(store)
        assert [record.run for record in found] == [GOOD], changed
        assert len(lines) == 1
        assert BAD.key in lines[0], changed


BELIEVABLE = [
    ("scores", "strings = strings + 1"),
    ("checks", "train_loss = train_loss / 2"),
    ("members", "steps = steps - 1"),
    ("members", "status = 'budget'"),
    ("splits", "longest = longest + 1"),
    ("chance", "majority = majority / 2"),
    ("measurements", "value = value / 2"),
    ("runs", "seconds = seconds + 1"),
    ("runs", "finished = 'x' || finished"),
    ("runs", "environment = replace(environment, '13', '12')"),
]


@pytest.mark.parametrize(("table", "change"), BELIEVABLE)
def test_a_value_that_could_be_true_is_told_by_its_checksum(
    table: str, change: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(home)
    with database(home) as connection:
        key = "key" if table == "runs" else "run"
        assert connection.execute(f"UPDATE {table} SET {change} WHERE {key} = ?", (BAD.key,)).rowcount > 0
    with Store() as store:
        found, lines = read(store)
        assert [record.run for record in found] == [GOOD]
        assert [BAD.key in line and line.endswith("the checksums differ") for line in lines] == [True]
        if table == "measurements":
            with pytest.raises(UserError, match=f"measurements of run {BAD.key} have changed"):
                store.measure(BAD.key, BAD.seeds[0], [Measurement("freezing", "paper", 10, "share", 0.5)])
    shown = {"seconds = seconds + 1", "finished = 'x' || finished", "status = 'budget'"}
    assert command(["runs", "--json"]) == 0
    listed = capsys.readouterr()
    assert len(json.loads(listed.out)) == (1 if change in shown else 2)
    assert ("the checksums differ" in listed.err) == (change in shown)


@pytest.mark.parametrize("protected", [False, True])
def test_a_store_of_before_is_read_and_shown_as_unchecked(
    protected: bool, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(home)
    with Store() as store:
        expected = store.records()
    with database(home) as connection:
        connection.execute("DROP TABLE checksums")
    monkeypatch.setattr("fwplab.storage.store.is_protected", lambda path: protected)
    monkeypatch.setattr("fwplab.storage.listing.is_protected", lambda path: protected)
    assert command(["runs"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 2 were written without a checksum, by a former version"
    with Store() as store:
        assert read(store) == (expected, [])
        if protected:
            return
        store.measure(GOOD.key, GOOD.seeds[0], [Measurement("freezing", "paper", 10, "share", 0.5)])
        store.save(record_of(replace(RUN, seeds=(2,))))
        assert len(read(store)[0]) == 3
    assert command(["runs"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 3 were written without a checksum, by a former version"


def test_a_run_whose_record_is_damaged_is_trained_again(home: Path) -> None:
    fill(home)
    with database(home) as connection:
        connection.execute("UPDATE members SET status = 'fine' WHERE run = ?", (BAD.key,))
    with Store() as store:
        with pytest.warns(RuntimeWarning, match=BAD.key):
            train_all([GOOD, BAD], store, Local(1), task=returns_at_once)
        assert {record.run for record in store.records()} == {GOOD, BAD}
    assert sorted(path.name for path in (home / "runs").iterdir()) == [BAD.key]


@pytest.mark.filterwarnings("ignore:fwplab. run:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Attempting to set identical:UserWarning")
def test_commands_show_all_readable_records(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (wanted,) = STUDIES.load("irie2023")().runs_of(["srwm"], quick=True, seeds=2)[:1]
    first, second = (replace(wanted, seeds=(seed,)) for seed in wanted.seeds)
    with Store() as store:
        store.save(record_of(first))
        store.save(record_of(second))
    with database(home) as connection:
        connection.execute("UPDATE runs SET spec = '{' WHERE key = ?", (second.key,))
    study = ["irie2023", "--own", "--quick", "--languages", wanted.language, "--mixers", "srwm", "--seeds", "2"]
    for words in (
        ["runs", "--json"],
        ["study", "show", *study, "--json"],
        ["study", "status", *study, "--json"],
        ["report", first.key, "--out", str(tmp_path / "report.html"), "--json"],
    ):
        assert command(words) == 0, capsys.readouterr().err
        assert json.loads(capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore:fwplab. run:RuntimeWarning")
def test_a_damaged_file_is_one_line_or_the_records_that_can_be_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_of_many = [replace(RUN, seeds=(seed,)) for seed in range(40)]
    with Store() as store:
        for run in runs_of_many:
            store.save(record_of(run))
    whole, draw, partly_read = (home / "records.sqlite").read_bytes(), random.Random(0), 0
    for log in home.glob("records.sqlite-*"):
        log.unlink()
    for _ in range(40):
        page = draw.randrange(len(whole) // 4096)
        (home / "records.sqlite").write_bytes(whole[: page * 4096] + draw.randbytes(4096) + whole[(page + 1) * 4096 :])
        try:
            with Store() as store:
                found, _ = read(store)
            partly_read += 0 < len(found) < 40
        except UserError as error:
            broken = str(error)
            assert str(home / "records.sqlite") in broken
            assert "\n" not in broken
            assert " is damaged (" in broken or " cannot be used as a store (" in broken
        for words in (["runs"], ["runs", "--json"]):
            assert command(words) in (0, 2)
        assert "Traceback" not in capsys.readouterr().err
    assert partly_read > 0


def run_without_root(words: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs the command line under file permissions. Root would ignore them, so its capabilities are dropped."""
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if bound and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (Debian: util-linux)")
    command = [*bound, sys.executable, "-m", "fwplab", *words]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("folder_mode", [0o755, 0o555])
def test_a_store_without_write_permission_is_read(folder_mode: int, home: Path, tmp_path: Path) -> None:
    fill(home)
    for path in home.iterdir():
        path.chmod(0o444)
    home.chmod(folder_mode)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "FWPLAB_HOME": str(home)}
    listed = run_without_root(["runs", "--json"], environment)
    assert listed.returncode == 0, listed.stderr
    assert [each["key"] for each in json.loads(listed.stdout)] == [GOOD.key, BAD.key]
    reported = run_without_root(["report", GOOD.key, "--out", str(tmp_path / "report.html")], environment)
    assert reported.returncode == 0, reported.stderr
    shown = run_without_root(["study", "show", "irie2023", "--languages", "aa-star", "--mixers", "lstm"], environment)
    assert shown.returncode == 0, shown.stderr
    trained = run_without_root(["train", "--language", "parity", "--mixer", "lstm", "--seeds", "1"], environment)
    assert trained.returncode == 2
    assert trained.stderr.count("\n") == 1
    assert "can only be read; choose another FWPLAB_HOME" in trained.stderr
    home.chmod(0o755)
    assert not (home / "runs").exists()


def test_changed_archives_give_one_line_or_their_readable_records(tmp_path: Path) -> None:
    with Store() as store:
        for run in (GOOD, BAD):
            store.save(record_of(run))
        write_archive([store], [GOOD.key, BAD.key], tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    refused = 0
    for name in NAMES:
        path = tmp_path / name
        content, table = path.read_bytes(), pyarrow.parquet.read_table(path)
        others = [table.slice(0, 0), pyarrow.concat_tables([table, table]), table.append_column("more", [table[0]])]
        for column in table.column_names:
            place = table.column_names.index(column)
            others += [
                table.drop_columns([column]),
                table.rename_columns([f"{c}{'_' * (c == column)}" for c in table.column_names]),
            ]
            for values in (
                [None],
                ["words"],
                [[1]],
                [{"a": 1}],
                [float("nan")],
                [2**62],
                [-1],
                [b"\xff"],
                ["\x00"],
                [True],
            ):
                others.append(table.set_column(place, column, pyarrow.array(values * len(table))))
        for other in others:
            pyarrow.parquet.write_table(other, path)
            try:
                with open_archive(tmp_path) as store:
                    read(store)
            except UserError as error:
                refused += "\n" not in str(error)
        for end in random.Random(0).sample(range(len(content)), 10):
            path.write_bytes(content[:end])
            with pytest.raises(UserError):
                open_archive(tmp_path)
        path.write_bytes(content)
    assert refused > 300
