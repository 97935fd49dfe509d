"""The store: what goes in comes out, a kill loses no whole record, and groups of seeds are found again."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.record import Chance, Check, Member, Record, Score, SplitSummary
from fwplab.run import Run
from fwplab.store import Store, restricted

RUN = Run("parity", MIXERS.load("srwm")(rate_bias=-2.0), (0, 1, 2, 3), (1e-3,))


def record_of(run: Run, seconds: float = 1.5, checks: int = 3) -> Record:
    """A record with something in every part."""
    members = tuple(
        Member(
            seed=seed,
            learning_rate=run.rate_of(seed),
            status="solved",
            steps=50 * checks,
            checks=tuple(Check(50 * n, 0.1 * n, 0.2, 0.5, 0.3, 1 / 3) for n in range(1, checks + 1)),
            selected={"paper": 50, "last": 50 * checks},
            scores=(Score("paper", "bin0", 2, 50, 60, 59), Score("last", "test", 1000, 1000, 7, 0)),
        )
        for seed in run.seeds
    )
    split, chance = SplitSummary("bin0", 2, 50, 60, 60, 1), Chance("bin0", 2, 50, 0.01, 0.25)
    return Record(run, members, 17_000, 512, (split,), (chance,), {"torch": "2.13.0"}, seconds)


def test_round_trip() -> None:
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
@given(seconds=st.floats(0, 1e9), checks=st.lists(st.tuples(st.integers(0, 10**9), floats, floats, floats), max_size=3))
def test_any_record_survives(seconds: float, checks: list[tuple[int, float, float, float]]) -> None:
    member = record_of(RUN).members[0]
    curve = tuple(Check(step, loss, loss0, accuracy, loss0, accuracy) for step, loss, loss0, accuracy in checks)
    record = replace(record_of(RUN, seconds), members=(replace(member, checks=curve, scores=(), selected={}),))
    with Store("sqlite:///:memory:") as store:
        store.save(record)
        assert store.load(RUN.key) == record


def test_nan_comes_back_as_nan() -> None:
    member = record_of(RUN).members[0]
    lost = replace(member, checks=(Check(50, math.nan, math.inf, 0.0, math.nan, 0.0),))
    with Store() as store:
        store.save(replace(record_of(RUN), members=(lost,)))
        found = store.load(RUN.key)
        assert found is not None
        check = found.members[0].checks[0]
    assert math.isnan(check.train_loss)
    assert check.bin0_loss == math.inf


def test_members_are_found_whatever_their_group() -> None:
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
from tests.test_store import RUN, record_of
from fwplab.store import Store
with Store() as store:
    for number in itertools.count():
        store.save(record_of(replace(RUN, learning_rates=(1e-3 + number,)), checks=50))
        print(number, flush=True)
"""


def test_a_kill_at_any_instant_leaves_whole_records(home: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    for pause in (0.0, 0.013, 0.05):
        process = subprocess.Popen([sys.executable, "-c", WRITER], env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0].split()
        with Store() as store:
            records = store.records()
        assert len(records) > len(said) // 2
        assert all(len(m.checks) == 50 and len(m.scores) == 2 for r in records for m in r.members)


def test_databases_of_others_are_refused(home: Path) -> None:
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


def test_a_home_that_is_a_file_is_one_clear_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.parent.joinpath("file").write_text("")
    monkeypatch.setenv("FWPLAB_HOME", str(home.parent / "file"))
    with pytest.raises(UserError, match="FWPLAB_HOME is no folder"):
        Store()
