"""The short form of the harness: a few trials of each kind, and whether it notices what it is to count.

`make faults` is the long form (`docs/trust.md`).
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from tests.faults import damage, disks, kills, long, servers, works
from tests.faults.page import BEGIN, END, with_table
from tests.faults.tally import COUNTS, Tally, passed, table, totals
from tests.faults.trial import Ended, Reference, Trial, Work, digests, trial

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which processes are left")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all trials, which share the results of undisturbed commands."""
    return tmp_path_factory.mktemp("faults")


def assert_passed(one: Trial) -> None:
    """The trial has tried something, and found nothing."""
    assert one.tally.lines == []
    assert one.tally.counts["tried"] > 0


def pair(draw: Random) -> Work:
    """Two groups of seeds in two processes. The trials share its undisturbed result, and that of `damage.TRAINED`."""
    return works.training("lstm", seeds=3, workers=2)


def test_a_killed_training_ends_with_the_same_bits(folder: Path) -> None:
    with trial("kill", 0, 0, folder) as one:
        kills.kill(one, pair, most=1)
    assert_passed(one)


@pytest.mark.parametrize("choose", [works.corpus_export, works.corpus_import])
def test_a_killed_corpus_command_leaves_nothing(choose: object, folder: Path) -> None:
    with trial("kill", 10, 0, folder) as one:
        kills.kill(one, choose)  # type: ignore[arg-type]
    assert_passed(one)


def test_drivers_on_one_store_train_each_run_once(folder: Path) -> None:
    with trial("drivers", 0, 0, folder) as one:
        kills.drivers(one, pair, most=2)
    assert_passed(one)


@pytest.mark.parametrize("mounts", [True, False])
def test_a_full_disk_loses_nothing(mounts: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if mounts and not disks.may_mount(folder / "mount"):
        pytest.skip("this user may not mount a file system")
    monkeypatch.setattr(disks, "may_mount", lambda _: mounts)
    with trial("disk-full", 0, 0, folder) as one:
        disks.full(one, works.corpus_import if mounts else works.corpus_export)
    assert_passed(one)


@pytest.mark.parametrize("sort", damage.SORTS)
def test_damaged_files_are_told(sort: object, folder: Path) -> None:
    with trial("damage", 0, 0, folder) as one:
        damage.one(one, sort, 40, sweep=False)  # type: ignore[arg-type]
    assert_passed(one)


@pytest.mark.skipif(not servers.HAS_SERVER, reason="no PostgreSQL server is installed (Debian: postgresql)")
def test_a_restarted_server_loses_nothing(folder: Path) -> None:
    with trial("server", 0, 0, folder) as one:
        servers.restarted(one, lambda draw: damage.TRAINED)
    assert_passed(one)


@pytest.fixture
def one(folder: Path) -> Iterator[Trial]:
    """A trial whose findings a test looks at."""
    with trial("none", 0, 0, folder) as each:
        yield each


def test_what_differs_from_an_undisturbed_command_is_counted(one: Trial) -> None:
    for name, text in {"same": "a", "changed": "b", "more": "c"}.items():
        (one.work / name).write_text(text)
    same = digests(one.work)["same"]
    one.compare(Reference({"same": same, "changed": same, "missing": same}, 1.0, 1, one.work))
    assert one.tally.counts == {"bits": 1, "lost": 1, "left": 1}


@pytest.mark.parametrize(
    ("code", "err", "wrong"),
    [
        (0, "lstm on parity: step 1/40, loss 0.7, solved 0 of 2\n", False),
        (143, f"fwplab: terminated; {kills.RESUMABLE}\n", False),
        (-signal.SIGTERM, "", False),
        (143, "", True),
        (130, f"fwplab: interrupted; {kills.RESUMABLE}\n", True),
        (143, f"fwplab: a worker died\nfwplab: terminated; {kills.RESUMABLE}\n", True),
        (1, "anything else\n", True),
    ],
)
def test_a_command_that_answers_a_signal_wrongly_is_counted(code: int, err: str, wrong: bool, one: Trial) -> None:
    kills.judge(one, Ended(code, "", err, 1.0), signal.SIGTERM)
    assert one.tally.counts["answers"] == wrong


def test_a_process_that_lives_on_is_counted_and_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Trial("none", 1, 0, folder)
    sleeper = subprocess.Popen(["sleep", "60"], env=one.environment(None, {}), start_new_session=True)
    monkeypatch.setattr("tests.faults.trial.HANG_SECONDS", 0.1)
    one.close()
    assert one.tally.counts == {"orphans": 1}
    assert sleeper.wait(10) == -signal.SIGKILL


def test_a_traceback_and_a_hang_are_counted(one: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.processes.FWPLAB", [sys.executable, "-c"])
    one.run(["1 / 0"])
    assert one.tally.counts == {"tracebacks": 1}
    one.end(one.begin(["import time; time.sleep(60)"]), 0.1)
    assert one.tally.counts == {"tracebacks": 1, "hangs": 1}


def test_a_run_that_is_trained_again_or_lost_is_counted(one: Trial) -> None:
    (one.work / "home").mkdir()
    with closing(sqlite3.connect(one.work / "home" / "records.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE runs (key, finished)")
        connection.execute("INSERT INTO runs VALUES ('a', 'now')")
    kills.kept(one, {"a": ("now",)})
    assert one.tally.lines == []
    kills.kept(one, {"a": ("before",), "b": ("before",)})
    assert one.tally.counts == {"twice": 1, "lost": 1}


def test_the_faults_inside_a_command_strike(one: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.processes.FWPLAB", [sys.executable, "-c"])
    write = "for n in range(4): open(f'file-{n}', 'w').close()"
    at = {"home": "file", "at": 3}
    assert one.run([write], {**at, "signal": 15, "group": True, "once": str(one.place / "once")}).code == -15
    assert sorted(path.name for path in one.work.glob("file-*")) == ["file-0", "file-1"]
    assert one.run([write], {**at, "signal": 15, "group": True, "once": str(one.place / "once")}).code == 0
    assert "No space left" in one.run([write], {**at, "errno": 28}).err


def test_a_damage_that_is_believed_is_counted(one: Trial) -> None:
    damage.look(one, lambda: 2, 1, "a number")
    damage.look(one, lambda: {1, 3}, frozenset({1, 2}), "a set")
    damage.look(one, lambda: {1}, frozenset({1, 2}), "a part of a set")
    damage.look(one, lambda: 1 // 0, 1, "an error")
    assert one.tally.counts == {"tried": 4, "believed": 2, "tracebacks": 1}


def test_the_table_has_every_count() -> None:
    good, bad = Tally("kill", 0), Tally("damage", 0)
    good.counts["tried"] = 1_234
    rows = totals([good])
    assert passed(rows)
    assert table(rows).splitlines()[2] == "| kill | 1,234 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |"
    for name in [name for name in COUNTS if name != "tried"]:
        bad.found(name, "a line")
    rows = totals([good, bad])
    assert not passed(rows)
    assert rows["all"] == {"tried": 1_234, **dict.fromkeys(bad.counts, 1)}
    assert not passed(totals([]))


def test_a_page_gets_the_table_of_a_finished_run() -> None:
    rows = table(totals([Tally("kill", 0)]))
    log = f"a line\n\n{rows}\n\n1 trials in 2 minutes, seed 3\n"
    once = with_table(f"above\n{BEGIN}{END}\nbelow\n", log)
    assert once == f"above\n{BEGIN}\n{rows}\n\n1 trials in 2 minutes, seed 3\n\n{END}\nbelow\n"
    assert with_table(once, log) == once
    with pytest.raises(ValueError, match="does not end"):
        with_table(once, rows)


def test_the_long_form_repeats_a_trial_and_writes_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(one: Trial) -> None:
        one.tally.counts["tried"] += 1
        one.found("lost", f"with {one.draw.random()}")

    monkeypatch.setitem(long.KINDS, "kill", wrong)
    words = ["faults", "--only", "kill", "--trial", "7", "--seed", "5", "--json", str(tmp_path / "counts.json")]
    monkeypatch.setattr(sys, "argv", words)
    assert [long.main(), long.main()] == [1, 1]
    first, second = [line for line in capsys.readouterr().out.splitlines() if "lost: with" in line]
    assert first == second
    assert first.endswith("[--seed 5 --only kill --trial 7]")
    facts = json.loads((tmp_path / "counts.json").read_text())
    assert facts["counts"]["all"] == {"tried": 1, "lost": 1}
    assert os.listdir(tmp_path) == ["counts.json"]


def test_every_kind_has_its_share() -> None:
    order = long.schedule(list(long.KINDS))
    assert {kind: order.count(kind) for kind in long.KINDS} == long.SHARES
