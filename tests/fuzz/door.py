"""A door, which is one way into the program for data of others, and the judge of what a case does behind it."""

import faulthandler
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal
from unittest import mock

from hypothesis.strategies import SearchStrategy

from fwplab.errors import LONGEST_LINE, UserError

LONGEST_MESSAGE = 300
"""The most characters of an error message before the list of choices."""
MEMORY = 4 * 2**30
"""The bytes that a process may allocate while a case runs. No case needs more than a small part of it."""
EXIT_SECONDS = 60
"""After this many seconds more than its deadline, a call that does not return to Python ends the process."""
SOURCES = f"{os.sep}fwplab{os.sep}"


@dataclass(frozen=True)
class Door:
    """A way into the program. To test another one, add an entry to `tests/fuzz/doors`.

    - `name`: its name in the table.
    - `cases`: what goes through it, a strategy of hypothesis.
    - `call`: opens it with a case and an empty folder, the only place where files may appear.
    - `long`: the number of cases in the long form of 100,000 cases.
    - `short`: the number of cases in the short form.
    - `deadline`: the longest time of a case in seconds.
    """

    name: str
    cases: SearchStrategy[Any]
    call: Callable[[Any, Path], object]
    long: int
    short: int = 30
    deadline: float = 20.0


@dataclass(frozen=True)
class Outcome:
    """What a case did: the call returned, or it refused the case with a `UserError` of one line, or it failed.

    - `where`: for a failure its kind and its place in the sources, which all cases of one fault have in common.
    - `why`: the message, or the traceback of a failure.
    """

    kind: Literal["returned", "refused", "failed"]
    seconds: float
    where: str = ""
    why: str = ""


class DeadlineError(BaseException):
    """The case took longer than its deadline. It is no `Exception`, so that nothing takes it for a bad input."""


def judge(door: Door, case: Any, room: Path) -> Outcome:
    """Runs one case. room: a folder that has only one folder `given`, for the files of the case."""
    given = room / "given"
    given.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(), _surroundings(given), _limits(door.deadline):
            warnings.simplefilter("ignore")
            door.call(case, given)
        outcome = Outcome("returned", time.perf_counter() - started)
    except UserError as error:
        wrong = message_error(str(error))
        seconds = time.perf_counter() - started
        outcome = Outcome("failed", seconds, wrong, repr(str(error))) if wrong else Outcome("refused", seconds)
    except (Exception, DeadlineError) as error:
        text = "".join(traceback.format_exception(error))
        outcome = Outcome("failed", time.perf_counter() - started, f"{type(error).__name__} in {_place(error)}", text)
    left = _left_over(room)
    shutil.rmtree(given, ignore_errors=True)
    return Outcome("failed", outcome.seconds, "left-over files", ", ".join(left)) if left else outcome


def message_error(text: str) -> str:
    """What is wrong with an error message; empty if it is one readable line.

    A list of choices may make a message longer than `LONGEST_MESSAGE`.
    """
    if not text.isprintable() or not text.strip():
        return "a message that is not one printable line"
    before = text.partition("choose from:")[0]
    if len(before) > LONGEST_MESSAGE or len(text) > LONGEST_LINE:
        return f"a message of more than {LONGEST_MESSAGE} characters"
    return ""


@contextmanager
def _surroundings(given: Path) -> Iterator[None]:
    """The working directory, the home directory and the folder of temporary files are all in `given`."""
    places = {name: given / name for name in ("work", "user", "temporary", "home")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    environment = {"HOME": str(places["user"]), "FWPLAB_HOME": str(places["home"]), "FWPLAB_DOCTOR": "off"}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(
        places["user"]
    )  # a folder that PyTorch makes when it is imported whole
    before = Path.cwd()
    with mock.patch.dict(os.environ, environment), mock.patch.object(tempfile, "tempdir", str(places["temporary"])):
        os.environ.pop("FWPLAB_STORE", None)
        os.chdir(places["work"])
        try:
            yield
        finally:
            os.chdir(before)


@contextmanager
def _limits(deadline: float) -> Iterator[None]:
    """Bounds on time and memory. A call that never returns to Python ends the process with a traceback."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, _alarm)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
    signal.setitimer(signal.ITIMER_REAL, deadline)
    faulthandler.dump_traceback_later(deadline + EXIT_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _alarm(number: int, frame: FrameType | None) -> None:
    raise DeadlineError


def _place(error: BaseException) -> str:
    """The innermost place in the sources of fwplab that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if SOURCES in frame.filename]
    frame = next((frame for frame in reversed(frames) if f"{SOURCES}tests" not in frame.filename), None)
    if frame is None:
        return "the test"
    return f"{frame.filename.rpartition(SOURCES)[2]}:{frame.lineno} {frame.name}"


def _left_over(room: Path) -> list[str]:
    """The files outside of the given folder, and temporaries that lie in it."""
    outside = [str(path) for path in room.iterdir() if path.name != "given"]
    for path in room.rglob("*"):
        temporary = path.name.startswith(".") and "~" in path.name
        if temporary or path.parent == room / "given" / "temporary":
            outside.append(str(path))
    return outside
