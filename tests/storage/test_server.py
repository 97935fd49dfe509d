"""The store on a PostgreSQL server that is restarted or stopped while it is used."""

import glob
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engines.test_engines import trained
from tests.engines.test_kills import RUNS, members, slowly
from tests.recipes.test_search import SEARCH
from tests.storage.test_store import RUN, record_of

from fwplab.cli import run as command
from fwplab.engines import Local
from fwplab.errors import UserError
from fwplab.recipes.search import open_search, work
from fwplab.storage import store as stores
from fwplab.storage.archive import open_archive, write_archive
from fwplab.storage.store import Store

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
pytestmark = pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL server is installed (Debian: postgresql)")


class Server:
    """A PostgreSQL server for these tests. PostgreSQL refuses to run as root, so root starts it as another user."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.user = "postgres" if os.getuid() == 0 else None
        folder.mkdir()
        if self.user:
            shutil.chown(folder, self.user)
        self.call("initdb", "--auth=trust", "--username=fwplab", "--no-sync")
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
    running = Server(folder, 40_000 + os.getpid() % 20_000)
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
    monkeypatch.setattr(stores, "RETRY_SECONDS", (0.01,))
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
