"""SIGINT and SIGTERM from the first line of the process: one line on standard error, exit code 130 or 143.

While the program starts, nothing is half-done and an exception would come out of somebody's import, so that the process
ends at once. While a command works, a signal raises `KeyboardInterrupt`, so that files and workers are left in order.
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
GOES_ON = "the same command goes on where this one stopped"
PATIENCE_SECONDS = 1.0
"""A signal that comes again after this time ends the process at once; before, it is the same one, sent by a second
sender (`timeout` signals its child and then its group)."""


class _State:
    works = False
    received: int | None = None
    when = 0.0
    said = False


_state = _State()


def install() -> None:
    """Handles both signals from now on; one that the parent of this process ignores stays ignored."""
    for number in WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    sys.unraisablehook = _unraisable


@contextmanager
def raised() -> Iterator[None]:
    """While this lasts, a signal raises `KeyboardInterrupt` in the main thread."""
    _state.works, _state.received, _state.said = True, None, False
    try:
        yield
    finally:
        _state.works = False


def received() -> bool:
    """Whether a signal has ended the work: any error since then comes of it."""
    return _state.received is not None


def say() -> int:
    """Prints the line of the signal that was received, and returns the exit code."""
    number = _state.received or signal.SIGINT
    if not _state.said:
        _state.said = True
        with suppress(OSError):  # nobody is there to read it
            os.write(2, f"fwplab: {WORDS[signal.Signals(number)]}; {GOES_ON}\n".encode())
    return 128 + number


def _handle(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.works and _state.received is None:
        _state.received, _state.when = number, now
        raise KeyboardInterrupt
    if not _state.works or now - _state.when > PATIENCE_SECONDS:
        _end(number)


def _end(number: int) -> None:
    _state.received = _state.received or number
    os._exit(say())


def _unraisable(lost: Any) -> None:
    """An interrupt that came where Python cannot raise, in a finaliser for example, ends the process all the same."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        _end(signal.SIGINT)
    sys.__unraisablehook__(lost)
