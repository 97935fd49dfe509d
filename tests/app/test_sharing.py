"""What sessions share is computed once, and only a few sessions compute at once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest import mock

import pytest
from streamlit.testing.v1 import AppTest
from tests.storage.test_store import RUN, record_of

from fwplab.app import shared
from fwplab.app.sharing import AT_ONCE, for_all_sessions, turn
from fwplab.storage.store import Store
from fwplab.storage.tables import runs
from fwplab.training.record import Record

THREADS = 30


def in_threads(work: Callable[[], object]) -> list[object]:
    """Calls `work` in `THREADS` threads that begin at the same time; returns the results or errors."""
    barrier = threading.Barrier(THREADS)

    def one(_: int) -> object:
        barrier.wait()
        try:
            return work()
        except ValueError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def test_thirty_threads_compute_a_result_once() -> None:
    calls: list[int] = []

    @for_all_sessions(4)
    def slow(number: int) -> object:
        calls.append(number)
        time.sleep(0.05)
        return object()

    results = in_threads(lambda: slow(3))
    assert calls == [3]
    assert len(set(map(id, results))) == 1


def test_an_error_reaches_all_threads_and_is_not_kept() -> None:
    calls: list[int] = []

    @for_all_sessions(4)
    def fails_first() -> int:
        calls.append(1)
        time.sleep(0.05)
        if len(calls) == 1:
            raise ValueError("the first time")
        return len(calls)

    results = in_threads(fails_first)
    assert any(isinstance(result, ValueError) for result in results)
    assert fails_first() == len(calls) == 2


def test_no_more_pages_than_turns_are_drawn_at_once() -> None:
    lock, now, most = threading.Lock(), 0, 0

    @for_all_sessions(100)
    def inner(number: int) -> int:
        return number

    @for_all_sessions(100)
    def outer(number: int) -> int:
        return inner(number % 3) + inner(number % 5)

    numbers = iter(range(THREADS))

    def page() -> None:
        nonlocal now, most
        with turn():
            with lock:
                now += 1
                most = max(most, now)
                number = next(numbers)
            time.sleep(0.01)
            with lock:
                now -= 1
            outer(number)

    in_threads(page)
    assert 1 <= most <= AT_ONCE


def test_other_pages_are_drawn_during_a_long_computation() -> None:
    release = threading.Event()

    @for_all_sessions(4, long=True)
    def long() -> bool:
        return release.wait(30)

    def page() -> bool:
        with turn():
            return long()

    with ThreadPoolExecutor(2 * AT_ONCE + 1) as pool:
        waiting = [pool.submit(page) for _ in range(2 * AT_ONCE)]
        with turn():
            release.set()
        assert all(each.result(30) for each in waiting)


def test_results_are_dropped_with_their_version_and_beyond_their_number() -> None:
    version, calls = [0], list[int]()

    @for_all_sessions(2, lambda: version[0])
    def counted(number: int) -> int:
        calls.append(number)
        return number

    for number in (1, 2, 1, 3, 1, 2):
        assert counted(number) == number
    assert calls == [1, 2, 3, 2]
    version[0] = 1
    assert counted(2) == 2
    assert calls == [1, 2, 3, 2, 2]


@pytest.mark.usefixtures("home")
def test_thirty_threads_after_one_change_of_the_store_read_it_once() -> None:
    reads: list[dict[str, str]] = []
    records = Store.records

    def counted(store: Store, **chosen: str) -> list[Record]:
        if chosen:  # the package's records are read whole
            reads.append(chosen)
        return records(store, **chosen)

    def page() -> list[str]:
        return [record.run.key for record in shared.cell_records(RUN.language, RUN.mixer_name)[0]]

    with mock.patch.object(Store, "records", counted):
        in_threads(page)
        before = len(reads)
        with Store() as store:
            store.save(record_of(RUN))
        found = in_threads(page)
        assert all(RUN.key in keys for keys in found)  # type: ignore[operator]
        assert len(reads) == before + 1
        in_threads(page)
        assert len(reads) == before + 1, "reading the store must not count as a change of it"


@pytest.mark.usefixtures("home")
def test_a_broken_checkpoint_is_named_and_left_out(home: Path) -> None:
    folder = home / "runs" / "0000000000000000"
    folder.mkdir(parents=True)
    (folder / "seed-0-paper.safetensors").write_bytes(b"not a checkpoint")
    found, broken = shared.checkpoints.__wrapped__()  # type: ignore[attr-defined]
    assert found
    assert len(broken) == 1
    assert "0000000000000000/seed-0-paper.safetensors is no fwplab checkpoint" in broken[0]


@pytest.mark.usefixtures("home")
def test_a_broken_record_is_named_and_left_out() -> None:
    good = replace(RUN, learning_rates=(2e-3,))
    with Store() as store:
        store.save(record_of(RUN))
        store.save(record_of(good))
        with store.engine.begin() as connection:
            connection.execute(runs.update().where(runs.c.key == RUN.key).values(spec="{"))
    records, bad = shared.cell_records(RUN.language, RUN.mixer_name)
    keys = [record.run.key for record in records]
    assert good.key in keys
    assert RUN.key not in keys
    (line,) = bad
    assert line.startswith(f"run {RUN.key} of {RUN.mixer_name} on {RUN.language} cannot be read here and is left out: ")


def test_a_plugin_that_ends_the_process_hides_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad_leaves.py").write_text("import sys\nsys.exit(7)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("fwplab.catalogue._installed", lambda group: [EntryPoint("aaa", "bad_leaves:Thing", group)])

    def script(page: str) -> None:
        import importlib

        importlib.import_module(f"fwplab.app.{page}").page()

    for page in ("runs", "reader", "automaton", "language"):
        app = AppTest.from_function(script, kwargs={"page": page}, default_timeout=300).run()
        assert not app.exception
        assert len(app.selectbox) >= 2
        assert len(app.main.children) >= 3
