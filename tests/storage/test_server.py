"""The store on a PostgreSQL server that is restarted or stopped while it is used."""

import glob
import itertools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sql
from tests.engines.test_drivers import OTHER_MACHINE, set_owner
from tests.engines.test_engines import trained
from tests.engines.test_kills import RUNS, members, slowly
from tests.recipes.test_search import SEARCH
from tests.storage.test_store import RUN, record_of

from fwplab.cli import run as command
from fwplab.engines import Local
from fwplab.errors import UserError
from fwplab.recipes.search import open_search, work
from fwplab.storage import claims, database
from fwplab.storage.archive import open_archive, write_archive
from fwplab.storage.claims import Claims
from fwplab.storage.listing import list_runs
from fwplab.storage.store import Store

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
GUARDED = "guarded"
"""The one user who needs a password."""
pytestmark = pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL server is installed (Debian: postgresql)")


def port_of(number: int) -> int:
    """A port for a server, below those that Linux gives to clients: one of these may hold it during a restart."""
    return 20_000 + number % 12_000


class Server:
    """A PostgreSQL server for these tests. PostgreSQL refuses to run as root, so root starts it as another user."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.user = "postgres" if os.getuid() == 0 else None
        folder.mkdir()
        if self.user:
            shutil.chown(folder, self.user)
        self.call("initdb", "--auth=trust", "--username=fwplab", "--no-sync")
        rules = folder / "pg_hba.conf"
        rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://fwplab@127.0.0.1:{self.port}/postgres"

    def call(self, program: str, *arguments: str) -> None:
        words = [f"{PROGRAMS[-1]}/{program}", "--pgdata", str(self.folder), *arguments]
        subprocess.run(words, check=True, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self.call("pg_ctl", "start", "--wait", f"--log={self.folder}/log", f"--options={options}")

    def stop(self) -> None:
        self.call("pg_ctl", "stop", "--wait", "--mode=immediate")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path("/tmp") / f"fwplab-postgres-{os.getpid()}"  # its user cannot enter the private folder of a test
    running = Server(folder, port_of(os.getpid()))
    yield running
    running.stop()
    shutil.rmtree(folder)


def test_records_survive_a_restart_of_the_server(server: Server, home: Path) -> None:
    with Store(server.url) as store:
        store.save(record_of(RUN))
        server.stop()
        server.start()
        assert store.load(RUN.key) == record_of(RUN)
        server.stop()
        threading.Timer(1.0, server.start).start()
        store.save(record_of(replace(RUN, seeds=(7,))))  # waits until the server is back
        assert [len(record.members) for record in store.records()] == [4, 1]


def test_a_study_continues_after_a_restart(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store("sqlite:///:memory:") as quiet, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FWPLAB_HOME", str(home.parent / "quiet"))
        expected = members(trained(RUNS, quiet, Local(1)))
    monkeypatch.setenv("FWPLAB_STORE", server.url)

    def restart() -> None:
        for _ in range(3):
            time.sleep(1.0)
            server.stop()
            time.sleep(0.5)
            server.start()

    restarts = threading.Thread(target=restart)
    restarts.start()
    with Store() as store:
        found = trained(RUNS, store, Local(2), task=slowly)
    restarts.join()
    assert members(found) == expected
    for run in RUNS:
        assert len(list((home / "runs" / run.key).glob("finished-*"))) == 1


def test_a_stopped_server_is_a_user_error(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "RETRY_SECONDS", (0.01,))
    with Store(server.url) as store:
        server.stop()
        with pytest.raises(UserError, match=r"does not answer .* the same command goes on"):
            store.save(record_of(replace(RUN, seeds=(9,))))
        monkeypatch.setenv("FWPLAB_STORE", server.url)
        assert command(["runs"]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
        server.start()
        store.save(record_of(replace(RUN, seeds=(9,))))
        assert store.has(replace(RUN, seeds=(9,)).key)


def opened() -> None:
    Store().close()


def opened_search() -> None:
    with open_search(SEARCH):
        pass


def test_every_operation_waits_for_a_server_that_is_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWPLAB_STORE", server.url)
    monkeypatch.setattr(database, "_answered", set())
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    known, taken, other = (replace(RUN, seeds=(seed,)) for seed in (21, 22, 23))
    with ThreadPoolExecutor(16) as pool, Store() as store, Claims(store) as mine:
        store.save(record_of(known))
        assert mine.take(taken)
        beats = sql.select(claims.claims.c.beat).where(claims.claims.c.run == taken.key)
        server.stop()
        database._answered.clear()
        works: dict[str, Callable[[], Any]] = {
            "open": opened,
            "search": opened_search,
            "list": lambda: known.key in {fact["key"] for fact in list_runs()},
            "load": lambda: store.load(known.key) == record_of(known),
            "specs": lambda: known in store.specs(),
            "save": lambda: store.save(record_of(replace(RUN, seeds=(24,)))),
            "claims": lambda: Claims(store).__enter__().__exit__(),
            "take": lambda: mine.take(other),
            "wait": lambda: mine.wait([known]) == [],
            "release": lambda: mine.release(known),
        }
        futures = {name: pool.submit(work) for name, work in works.items()}
        time.sleep(2.0)
        assert not any(future.done() for future in futures.values())
        server.start()
        found = {name: future.result() for name, future in futures.items()}
        assert {name: value for name, value in found.items() if value not in (True, None)} == {}
        before = store.rows(beats)[0]["beat"]
        deadline = time.monotonic() + 20
        while store.rows(beats)[0]["beat"] <= before:  # the heart has gone on as well
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_server_that_never_answered_is_waited_for_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "NEW_SECONDS", 1.0)
    monkeypatch.setenv("FWPLAB_STORE", "postgresql+psycopg://me@127.0.0.1:1/records")
    for wrong in (opened, opened_search, lambda: list(list_runs())):
        began = time.monotonic()
        with pytest.raises(UserError, match=r"cannot be used .*Connection refused"):
            wrong()
        assert 1.0 <= time.monotonic() - began < sum(database.RETRY_SECONDS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/postgres", "/no_such_database"),
        ("fwplab@", "no_such_user@"),
        ("fwplab@", f"{GUARDED}:wrong@"),
        ("fwplab@", f"{GUARDED}@"),
    ],
    ids=["database", "user", "password", "no password"],
)
def test_a_url_that_the_server_refuses_is_not_tried_again(
    old: str, new: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(server.url).close()
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(UserError, match="cannot be used as a store"):
        Store(server.url.replace(old, new))
    assert waits == []


def test_a_claim_does_not_become_stale_while_the_server_is_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"ahead": 0.0}  # a jump of this clock is an outage of an hour
    watch = SimpleNamespace(monotonic=lambda: time.monotonic() + clock["ahead"])
    monkeypatch.setattr(claims, "time", watch)
    monkeypatch.setattr(claims, "STALE_SECONDS", 1_800.0)
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    run = replace(RUN, seeds=(31,))
    with Store(server.url) as store, Claims(store) as mine, Claims(store) as other:
        assert other.take(run)
        set_owner(store, OTHER_MACHINE)
        assert not mine.take(run)
        server.stop()
        clock["ahead"] += 3_600
        wait_until(lambda: watch.monotonic() - mine._silent < 600)
        server.start()
        assert not mine.take(run)
        hours = itertools.count(2)

        def is_taken_an_hour_later() -> bool:
            clock["ahead"] = 3_600.0 * next(hours)
            return mine.take(run)

        wait_until(is_taken_an_hour_later)  # without a heartbeat, once the server answers


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_two_processes_save_the_same_record(server: Server) -> None:
    record = record_of(replace(RUN, seeds=(11,)))
    with Store(server.url) as one, Store(server.url) as other:
        threads = [threading.Thread(target=store.save, args=(record,)) for store in (one, other) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.load(record.run.key) == record


def test_records_move_from_a_server_to_a_folder(server: Server, tmp_path: Path) -> None:
    record = record_of(replace(RUN, seeds=(12,)))
    with Store(server.url) as store:
        store.save(record)
        write_archive([store], [record.run.key], tmp_path / "records")
    with open_archive(tmp_path / "records") as found:
        assert found.records() == [record]


def test_a_search_shares_its_trials_through_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWPLAB_STORE", server.url)
    record = record_of(replace(RUN, seeds=(13,)))
    with Store() as store:
        store.save(record)
    work(SEARCH, 1)
    with open_search(SEARCH) as study:
        (trial,) = study.trials
    assert trial.state.name == "COMPLETE"
    with Store() as store:  # the search has not changed the records on the same server
        assert store.load(record.run.key) == record
