"""SIGINT and SIGTERM end the process with one line on standard error and exit code 130 or 143.

While the program starts, the process ends at once: there is no unfinished work, and an exception could be raised inside
an import. While a command runs, a signal raises `KeyboardInterrupt`, so that files and workers are cleaned up.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
RESUMABLE = "the same command goes on where this one stopped"
REPEAT_SECONDS = 1.0
"""A second signal after this time ends the process at once. Before, it counts as a copy of the first: `timeout` signals
its child and then its process group."""


class _State:
    running = False
    received: int | None = None
    received_at = 0.0
    reported = False


_state = _State()


def install() -> None:
    """Installs the handlers of both signals. A signal that the parent process ignores stays ignored."""
    for number in WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    sys.unraisablehook = _unraisable


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Inside this context, a signal raises `KeyboardInterrupt` in the main thread."""
    _state.running, _state.received, _state.reported = True, None, False
    try:
        yield
    finally:
        _state.running = False


def received() -> bool:
    """Whether a signal was received while the command ran. Later errors are consequences of it."""
    return _state.received is not None


def report_signal() -> int:
    """Prints one line about the received signal, and returns the exit code."""
    number = _state.received or signal.SIGINT
    if not _state.reported:
        _state.reported = True
        with suppress(OSError):  # standard error may be closed
            os.write(2, f"fwplab: {WORDS[signal.Signals(number)]}; {RESUMABLE}\n".encode())
    exec("")  # CPython kills a process at its end if the last `exec` of a text was interrupted, as that of a dataclass
    return 128 + number


def _handle(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.running and _state.received is None:
        _state.received, _state.received_at = number, now
        raise KeyboardInterrupt
    if not _state.running or now - _state.received_at > REPEAT_SECONDS:
        _end(number)


def _end(number: int) -> None:
    _state.received = _state.received or number
    os._exit(report_signal())


def _unraisable(unraisable: Any) -> None:
    """Ends the process for an interrupt where Python cannot raise an exception, such as in a finaliser."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _end(signal.SIGINT)
    sys.__unraisablehook__(unraisable)
