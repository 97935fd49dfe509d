"""Commands of the command line in processes of their own, for tests that signal and kill them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

FWPLAB = [sys.executable, "-m", "fwplab"]
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""What the last line of a command says after a signal."""
Value = TypeVar("Value")


def started(words: list[str], **options: Any) -> "subprocess.Popen[str]":
    """A command in a group of its own.

    A shell starts background jobs with SIGINT ignored, and so would be all that these tests start.
    """
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([*FWPLAB, *words], text=True, start_new_session=True, **options)


def begun(words: list[str], **options: Any) -> "subprocess.Popen[str]":
    """A command in a group of its own that handles signals already."""
    process = started(words, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options)
    wait_for(lambda: handles(process.pid, signal.SIGTERM))
    return process


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def workers_of(pid: int) -> list[int]:
    """The worker processes of a command: not its resource tracker."""
    return [child for child in children_of(pid) if b"spawn_main" in command_line(child)]


def children_of(pid: int) -> list[int]:
    """The children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def command_line(pid: int) -> bytes:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(condition: Callable[[], Value], seconds: float = 60.0) -> Value:
    """The value of `condition`, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def no_longer(pids: list[int]) -> None:
    """Waits until these processes have ended."""
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
