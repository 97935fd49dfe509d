"""Several drivers on one store: each run is trained once, and the claims of a dead driver are taken over."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sql
from tests.engines.test_engines import RUNS, returns_at_once
from tests.engines.test_kills import DRIVER, members
from tests.engines.test_kills import RUNS as SLOW_RUNS
from tests.storage.test_store import record_of

from fwplab.engines import Local, train_all
from fwplab.processes import this_process
from fwplab.storage import claims as module
from fwplab.storage.claims import Claims, claims
from fwplab.storage.store import Store, folder_of

OTHER_MACHINE = "00000000-1-1/0"


def claimed(store: Store) -> dict[str, str]:
    return {row["run"]: row["owner"] for row in store.rows(sql.select(claims))}


def set_owner(store: Store, owner: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(claims.update().values(owner=owner))


@pytest.mark.parametrize("kills", [0, 2])
def test_three_drivers_train_every_run_once(kills: int, tmp_path: Path) -> None:
    """If drivers are killed, the others continue their runs from the saved states."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    arguments = [sys.executable, str(script), '{"name": "local", "workers": 1}']
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    drivers = [subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for driver in drivers[:kills]:
        assert driver.stdout is not None
        driver.stdout.readline()
        driver.kill()
    for driver in drivers:
        driver.communicate()
    assert drivers[-1].returncode == 0
    starts = [len(list(folder_of(run).glob("pid-*"))) for run in SLOW_RUNS]
    finished = [len(list(folder_of(run).glob("finished-*"))) for run in SLOW_RUNS]
    assert finished == [1] * len(SLOW_RUNS)
    assert sum(starts) <= len(SLOW_RUNS) + sum(driver.returncode != 0 for driver in drivers)
    with Store() as store:
        records = store.records()
        assert claimed(store) == {}
    assert len(members(records)) == len(SLOW_RUNS)


def test_a_claim_can_be_released_and_a_finished_run_cannot_be_claimed() -> None:
    with Store() as store, Claims(store) as first, Claims(store) as second:
        assert first.take(RUNS[0])
        assert first.take(RUNS[0])
        assert not second.take(RUNS[0])
        assert second.take(RUNS[1])
        first.release(RUNS[0])
        assert second.take(RUNS[0])
        store.save(record_of(RUNS[0]))
        second.release(RUNS[0])
        assert not first.take(RUNS[0])
        assert claimed(store) == {RUNS[1].key: second.owner}
    with Store() as store:
        assert claimed(store) == {}


def test_the_claim_of_a_dead_process_on_this_machine_is_taken_at_once() -> None:
    with Store() as store, Claims(store) as mine:
        with Claims(store) as other:
            assert other.take(RUNS[0])
            place, number, start = this_process().split("-")
            set_owner(store, f"{place}-{number}-{int(start) - 1}/0")
        assert mine.take(RUNS[0])
        set_owner(store, OTHER_MACHINE)
        assert not mine.take(RUNS[0])


def test_the_claim_of_a_driver_without_heartbeat_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE_SECONDS", 0.3)
    with Store() as store, Claims(store) as mine, Claims(store) as other:
        assert other.take(RUNS[0])
        set_owner(store, OTHER_MACHINE)
        for _ in range(4):  # while the heartbeat goes on
            assert not mine.take(RUNS[0])
            time.sleep(0.1)
            with store.engine.begin() as connection:
                connection.execute(claims.update().values(beat=claims.c.beat + 1))
        assert not mine.take(RUNS[0])
        time.sleep(0.4)
        assert mine.take(RUNS[0])
        assert claimed(store) == {RUNS[0].key: mine.owner}


def test_a_driver_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    with Store() as store, Claims(store) as mine:
        assert mine.take(RUNS[0])
        deadline = time.monotonic() + 20
        while store.rows(sql.select(claims))[0]["beat"] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_driver_waits_for_the_runs_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    with Store() as store, Claims(store) as other:
        assert other.take(RUNS[1])
        driver = threading.Thread(target=train_all, args=(RUNS, store, Local(1)), kwargs={"task": returns_at_once})
        driver.start()
        deadline = time.monotonic() + 60
        while len(store.records()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        driver.join(0.5)
        assert driver.is_alive()
        store.save(record_of(RUNS[1]))
        driver.join(60)
        assert not driver.is_alive()
        assert not folder_of(RUNS[1]).exists()
