"""The store: records are read back unchanged, survive a kill, and are found for any group of seeds."""

import errno
import json
import math
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fwplab.errors import UserError
from fwplab.files import check_writable, replaced
from fwplab.mixers import MIXERS
from fwplab.storage import database
from fwplab.storage.database import database_message, database_url, invalid_url, shown
from fwplab.storage.store import Store, restricted
from fwplab.training.record import Chance, Check, Member, Record, Score, SplitSummary
from fwplab.training.run import Run
from fwplab.training.spec import to_dict

RUN = Run("parity", MIXERS.load("srwm")(rate_bias=-2.0), (0, 1, 2, 3), (1e-3,))


def record_of(run: Run, seconds: float = 1.5, checks: int = 3) -> Record:
    """A record with values in every part."""
    members = tuple(
        Member(
            seed=seed,
            learning_rate=run.rate_of(seed),
            status="solved",
            steps=min(50 * checks, run.protocol.max_steps),
            checks=tuple(Check(50 * n, 0.1 * n, 0.2, 0.5, 0.3, 1 / 3) for n in range(1, checks + 1)),
            selected={"paper": 50, "last": 50 * checks},
            scores=(Score("paper", "bin0", 2, 50, 60, 59), Score("last", "test", 1000, 1000, 7, 0)),
        )
        for seed in run.seeds
    )
    split, chance = SplitSummary("bin0", 2, 50, 60, 60, 1), Chance("bin0", 2, 50, 0.01, 0.25)
    return Record(run, members, 17_000, 512, (split,), (chance,), {"torch": "2.13.0"}, seconds)


def test_a_record_is_read_back_unchanged() -> None:
    record = record_of(RUN)
    with Store() as store:
        assert store.load(RUN.key) is None
        store.save(record)
        assert store.load(RUN.key) == record
        assert store.has(RUN.key)
        store.save(replace(record, seconds=99.0))
        assert store.records() == [record]
        assert store.records(language="parity", mixer="srwm") == [record]
        assert store.records(language="dyck_1") == []
    with Store() as reopened:
        assert reopened.load(RUN.key) == record


floats = st.floats(allow_nan=False, width=64)


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.floats(0, 1e9),
    checks=st.lists(st.tuples(st.integers(0, 10**9), floats, floats, st.floats(0, 1)), max_size=3),
)
def test_any_record_is_read_back_unchanged(seconds: float, checks: list[tuple[int, float, float, float]]) -> None:
    member = record_of(RUN).members[0]
    curve = tuple(Check(step, loss, loss0, accuracy, loss0, accuracy) for step, loss, loss0, accuracy in checks)
    record = replace(record_of(RUN, seconds), members=(replace(member, checks=curve, scores=(), selected={}),))
    with Store("sqlite:///:memory:") as store:
        store.save(record)
        assert store.load(RUN.key) == record


def test_nan_is_read_back_as_nan() -> None:
    member = record_of(RUN).members[0]
    diverged = replace(member, checks=(Check(50, math.nan, math.inf, 0.0, math.nan, 0.0),))
    with Store() as store:
        store.save(replace(record_of(RUN), members=(diverged,)))
        found = store.load(RUN.key)
        assert found is not None
        check = found.members[0].checks[0]
    assert math.isnan(check.train_loss)
    assert check.bin0_loss == math.inf


def test_members_are_found_in_any_group_of_seeds() -> None:
    first, second = restricted(RUN, (0, 2)), restricted(replace(RUN, population="loop"), (1,))
    other_rate, other_mixer = replace(RUN, learning_rates=(1e-2,)), replace(RUN, mixer=MIXERS.load("srwm")())
    with Store() as store:
        assert store.missing(RUN) == RUN
        for run in (first, second, other_rate, other_mixer):
            store.save(record_of(run))
        assert list(store.members(RUN)) == [0, 1, 2]
        assert store.missing(RUN) == restricted(RUN, (3,))
        assert store.missing(other_rate) is None
        assert store.members(RUN)[1][1].run == second


WRITER = """
import itertools
from dataclasses import replace
from tests.storage.test_store import RUN, record_of
from fwplab.storage.store import Store
with Store() as store:
    for number in itertools.count():
        store.save(record_of(replace(RUN, learning_rates=(1e-3 + number,)), checks=50))
        print(number, flush=True)
"""


def test_a_kill_leaves_only_complete_records(home: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    for pause in (0.0, 0.013, 0.05):
        process = subprocess.Popen([sys.executable, "-c", WRITER], env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        printed = process.communicate()[0].split()
        with Store() as store:
            records = store.records()
        assert len(records) > len(printed) // 2
        assert all(len(m.checks) == 50 and len(m.scores) == 2 for r in records for m in r.members)


def test_other_databases_and_schemas_are_refused(home: Path) -> None:
    Store().close()
    connection = sqlite3.connect(home / "records.sqlite")
    connection.execute("UPDATE versions SET schema = 999")
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match="records of schema 999"):
        Store()
    (home / "records.sqlite").write_bytes(b"no database at all, but long enough to look at" * 100)
    with pytest.raises(UserError, match="cannot be used as a store"):
        Store()
    with pytest.raises(UserError, match="no database URL"):
        Store("nonsense")


def test_a_home_that_is_a_file_is_a_user_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.parent.joinpath("file").write_text("")
    monkeypatch.setenv("FWPLAB_HOME", str(home.parent / "file"))
    with pytest.raises(UserError, match="FWPLAB_HOME is not a writable folder"):
        Store()


SECRETS = {
    "a server": "postgresql+psycopg://me:secret@127.0.0.1:1/records",
    "no driver": "mysql://me:secret@127.0.0.1/records",
    "no such kind": "nonsense://me:secret@127.0.0.1/records",
    "no host": "postgresql://me:secret",
    "no slashes": "me:secret@127.0.0.1",
    "a password with an @": "postgresql+psycopg://me:a@secret@127.0.0.1:1/records",
    "a password with an @ and a slash": "postgresql+psycopg://me:a@b/secret@127.0.0.1:1/records",
    "a user alone": "postgresql+psycopg://secret@nowhere.invalid:x/records",
    "for SQLite": "sqlite://me:secret@host/file",
    "in the port": "postgresql+psycopg://me@127.0.0.1:secret/records",
    "in the host": "postgresql+psycopg://me@[secret/records",
    "unknown options": "postgresql+psycopg://me:secret@127.0.0.1:1/records?passwrd=secret",
    "in the query": "postgresql+psycopg://me@127.0.0.1:1/records?password=secret",
}


@pytest.mark.parametrize("url", SECRETS.values(), ids=SECRETS)
def test_a_password_is_never_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "NEW_SECONDS", 0.0)
    with pytest.raises(UserError) as raised:
        Store(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


URL_PIECES = (
    "sqlite",
    "+psycopg",
    ":",
    "/",
    "//",
    "@",
    "me",
    "%",
    "%40",
    "?",
    "#",
    "[",
    "]",
    "=",
    "&",
    "password=",
    "\x00",
    "ü",
)
pieces = st.lists(st.sampled_from(URL_PIECES), max_size=5).map("".join)


@settings(max_examples=1_500, deadline=None)
@example(kind="postgresql+psycopg", texts=("", "sqlite", "", "=\x00"))  # an error quotes the value in its own form
@given(
    kind=st.sampled_from(["postgresql+psycopg", "postgresql", "mysql", "no kind", ""]),
    texts=st.tuples(*[pieces] * 4),
)
def test_no_generated_url_shows_its_password(kind: str, texts: tuple[str, ...]) -> None:
    """Neither the error for an invalid URL, nor the displayed address, nor an error that quotes it."""
    slashes, inside, host, behind = texts
    url = f"{kind}:{slashes or '//'}me:hunter22{inside}@{host or '127.0.0.1:1'}/records?{behind}=hunter22"
    try:
        address = database_url(url, "file")
    except UserError as error:
        message = str(error)
    else:
        quoting = ValueError(f"cannot reach {address.password} {address.query} at {address.host}")
        message = f"{shown(address)} {invalid_url(shown(address), database_message(quoting, address))}"
    assert "hunter22" not in message
    assert "\n" not in message


def open_new(url: str) -> None:
    Store(url).close()


def on_eight_databases(barrier: Barrier, outcomes: "Queue[str]", work: Callable[[str], None], url: str) -> None:
    """Calls `work` for eight new databases, each at the same time as the other processes."""
    for number in range(8):
        barrier.wait()
        try:
            work(f"{url}-{number}.sqlite")
        except BaseException as error:
            outcomes.put(repr(error))
        else:
            outcomes.put("opened")


def outcomes_in_four_processes(work: Callable[[str], None], folder: Path) -> set[str]:
    """The outcomes of `work` in four processes that open the same new databases at the same time."""
    context = multiprocessing.get_context("spawn")
    arguments = (context.Barrier(4), context.Queue(), work, f"sqlite:///{folder}/new")
    processes = [context.Process(target=on_eight_databases, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    outcomes = {arguments[1].get(timeout=300) for _ in range(32)}
    for process in processes:
        process.join()
    return outcomes


def test_several_processes_open_a_new_store_at_the_same_time(tmp_path: Path) -> None:
    assert outcomes_in_four_processes(open_new, tmp_path) == {"opened"}


def write_to_full_disk(path: Path) -> None:
    with replaced(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "any words")


def test_a_file_is_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file.txt"
    with replaced(path) as temporary:
        temporary.write_text("first")
    with pytest.raises(UserError, match=r"cannot write .*file\.txt: No space left on device"):
        write_to_full_disk(path)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]
    for write in (replaced(tmp_path).__enter__, lambda: check_writable(tmp_path)):
        with pytest.raises(UserError, match="Is a directory"):
            write()


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to("there/file")
    for text in ("first", "second"):
        with replaced(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink()
        assert (tmp_path / "there" / "file").read_text() == text
    assert len(list(tmp_path.rglob("*"))) == 3


def test_a_named_pipe_receives_the_bytes(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    check_writable(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with replaced(pipe) as temporary:
        temporary.write_text("through")
    reader.join(10)
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_run_whose_mixer_is_missing_is_left_out_with_a_warning(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'records.sqlite'}") as store:
        good, bad = (record_of(replace(RUN, seeds=(seed,))) for seed in (0, 1))
        for each in (good, bad):
            store.save(each)
        with store.engine.begin() as connection:
            changed = {"spec": json.dumps({**to_dict(bad.run), "mixer": {"name": "gone"}}), "key": bad.run.key}
            connection.execute(sqlalchemy.text("UPDATE runs SET spec = :spec WHERE key = :key"), changed)
        with pytest.warns(RuntimeWarning, match=f"run {bad.run.key} .* cannot be read here .* unknown mixer 'gone'"):
            assert [found.run.key for found in store.records()] == [good.run.key]


@pytest.mark.parametrize("name", ["lab?1", "lab#1", "lab%41", "lab 1", "lab;x=1&y", "läb"])
def test_the_store_is_inside_a_home_of_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in (tmp_path / name, tmp_path / f"{name}2"):
        monkeypatch.setenv("FWPLAB_HOME", str(home))
        with Store() as store:
            assert store.records() == []
            store.save(record_of(RUN))
        assert (home / "records.sqlite").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}2"]
