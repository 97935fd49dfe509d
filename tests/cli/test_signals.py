"""An interrupted or terminated command ends with one line and leaves no process behind."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.processes import WORDS, begun, no_longer, wait_for, workers_of

TRAIN = ["train", "--language", "parity", "--mixer", "lstm", "--hidden", "8", "--seeds", "2"]
TRAIN += ["--max-steps", "100000", "--check-every", "100000"]


def assert_ended(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """One line and the code of the signal, and nothing that waits for ever."""
    out, err = process.communicate(timeout=180)
    assert process.returncode == 128 + number
    assert out == ""
    assert err == f"fwplab: {WORDS[number]}; the same command goes on where this one stopped\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells when the handlers are there")
@pytest.mark.parametrize("seed", range(20))
def test_a_signal_in_the_first_two_seconds_is_one_line(seed: int, home: Path) -> None:
    generator = random.Random(seed)
    number = generator.choice((signal.SIGINT, signal.SIGTERM))
    process = begun([*TRAIN, "--workers", str(generator.choice((1, 2)))])
    time.sleep(generator.uniform(0, 2))
    (os.killpg if generator.random() < 0.5 else os.kill)(process.pid, number)
    assert_ended(process, number)
    assert [path for path in home.rglob("*") if path.name.startswith((".", "tmp"))] == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what runs")
@pytest.mark.parametrize("number", WORDS)
@pytest.mark.parametrize("group", [True, False], ids=["group", "driver"])
def test_a_signal_while_workers_start_is_one_line_and_leaves_none(number: signal.Signals, group: bool) -> None:
    process = begun([*TRAIN, "--workers", "2"])
    workers = wait_for(lambda: workers_of(process.pid))
    (os.killpg if group else os.kill)(process.pid, number)
    assert_ended(process, number)
    no_longer(workers)


SEARCH = ["search", "--language", "parity", "--mixer", "lstm", "--trials", "100", "--strings", "10000000"]
SEARCH += ["--members", "1", "--workers", "2"]


def trials(state: str) -> int:
    """How many trials of all searches are in this state."""
    database = Path(os.environ["FWPLAB_HOME"]) / "searches.sqlite"
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(database)) as connection, contextlib.suppress(sqlite3.OperationalError):
        (number,) = connection.execute("SELECT COUNT(*) FROM trials WHERE state = ?", [state]).fetchone()
        return int(number)
    return 0  # no table yet


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what runs")
@pytest.mark.parametrize("group", [True, False], ids=["group", "driver"])
def test_a_terminated_search_queues_its_trials_again(group: bool) -> None:
    pytest.importorskip("optuna")
    process = begun(SEARCH)
    wait_for(lambda: trials("RUNNING") == 2)
    time.sleep(5)  # until both are past the line that begins a trial, on a busy machine too
    workers = workers_of(process.pid)
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    assert_ended(process, signal.SIGTERM)
    no_longer(workers)
    assert {state: trials(state) for state in ("RUNNING", "FAIL", "WAITING")} == {"RUNNING": 0, "FAIL": 2, "WAITING": 2}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what runs")
def test_the_workers_of_a_search_end_with_a_killed_driver() -> None:
    pytest.importorskip("optuna")
    process = begun(SEARCH, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    workers = wait_for(lambda: workers_of(process.pid))
    process.kill()
    process.wait()
    no_longer(workers)


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    code = (
        "import signal\nfrom fwplab.cli import signals\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsignals.install()"
    )
    check = "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN and callable(signal.getsignal(signal.SIGTERM))"
    subprocess.run([sys.executable, "-c", f"{code}\n{check}"], check=True)


def test_ray_does_not_replace_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from fwplab.engines.ray import Ray

    def answer(number: int, frame: Any) -> None:
        pass

    def init(**options: Any) -> None:  # as Ray's own does
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))

    monkeypatch.setattr("fwplab.engines.ray.ray.init", init)
    before = signal.signal(signal.SIGTERM, answer)
    try:
        Ray()._start()
        assert signal.getsignal(signal.SIGTERM) is answer
    finally:
        signal.signal(signal.SIGTERM, before)


SWALLOWING_SCRIPT = """
import os, signal, sys
from fwplab.cli import commands, main

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

def converts():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise RecursionError("what an interrupted import may raise")

def swallows():
    Finalised()
    return 0

commands.read_command = lambda arguments: globals()[arguments[0]]
main()
"""


@pytest.mark.parametrize(("what", "number"), [("converts", signal.SIGINT), ("swallows", signal.SIGTERM)])
def test_a_signal_ends_the_process_even_if_its_exception_is_replaced_or_lost(what: str, number: signal.Signals) -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWING_SCRIPT, what], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number
    assert done.stderr.splitlines() == [f"fwplab: {WORDS[number]}; the same command goes on where this one stopped"]


@pytest.mark.parametrize("number", WORDS)
def test_a_signal_inside_of_generated_code_has_the_same_exit_code(number: signal.Signals, tmp_path: Path) -> None:
    """`dataclass` and `namedtuple` run code with `exec`; Python kills a process that was interrupted there."""
    lines = [
        "import os",
        "from fwplab import cli",
        "from fwplab.cli import signals",
        "def command(words):",
        "    with signals.as_exceptions():",
        f"        exec('os.kill(os.getpid(), {int(number)})')",
        "cli._run = command",
        "cli.main()",
    ]
    (tmp_path / "interrupted.py").write_text("\n".join(lines))
    words = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr.startswith(f"fwplab: {WORDS[number]}; ")
