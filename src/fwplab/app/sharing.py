"""Results that all sessions of the explorer share, and a bound on what the server computes at once.

Each session has a thread. Without this, fifty sessions would read the store fifty times, hold fifty copies, and leave
no time for the thread that sends the pages.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
AT_ONCE = 4
"""How many pages are drawn at the same time. Other sessions wait for their turn."""
LONG_AT_ONCE = 1
"""How many long computations run beside them."""
_turns, _long_turns = threading.BoundedSemaphore(AT_ONCE), threading.BoundedSemaphore(LONG_AT_ONCE)
_thread = threading.local()


@contextmanager
def turn() -> Iterator[None]:
    """Inside this context, this thread is one of `AT_ONCE`. It may be entered again inside."""
    if _has_turn():
        yield
        return
    with _turns:
        _thread.has_turn = True
        try:
            yield
        finally:
            _thread.has_turn = False


@contextmanager
def _no_turn() -> Iterator[None]:
    """Inside this context, this thread leaves its turn to others, because it waits for them or computes for long."""
    if not _has_turn():
        yield
        return
    _thread.has_turn = False
    _turns.release()
    try:
        yield
    finally:
        _turns.acquire()
        _thread.has_turn = True


def _has_turn() -> bool:
    return getattr(_thread, "has_turn", False)


@contextmanager
def _long_turn() -> Iterator[None]:
    with _no_turn(), _long_turns:
        yield


def for_all_sessions(
    most: int, version: Callable[[], Hashable] = lambda: None, *, long: bool = False
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorates a function of hashable positional arguments, so that each result is computed once, for all threads.

    A thread that asks for what another one computes waits for it. An error is raised in all of them, and not kept.

    most: how many results are kept; the one that was used longest ago goes first.
    version: all results are dropped when the value of this function changes.
    long: whether it may take many seconds, so that other pages have to be drawn in the meantime. Such a function must
        not call another one.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        lock = threading.Lock()
        kept: OrderedDict[Hashable, Future[Result]] = OrderedDict()
        of_version: Hashable = None

        def find(key: Hashable) -> tuple[Future[Result], bool]:
            """The result of these arguments, and whether this thread has to compute it."""
            nonlocal of_version
            with lock:
                if (now := version()) != of_version:
                    kept.clear()
                    of_version = now
                missing = key not in kept
                result = kept.setdefault(key, Future())
                kept.move_to_end(key)
                if len(kept) > most:
                    kept.popitem(last=False)
                return result, missing

        def forget(key: Hashable, result: Future[Result]) -> None:
            with lock:
                if kept.get(key) is result:
                    del kept[key]

        @wraps(function)
        def decorated(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
            assert not named, "a shared function has positional arguments only"
            result, mine = find(arguments)
            if mine:
                with _long_turn() if long else turn():
                    try:
                        result.set_result(function(*arguments, **named))
                    except BaseException as error:
                        forget(arguments, result)
                        result.set_exception(error)
            if not result.done():
                with _no_turn():
                    return result.result()
            return result.result()

        return decorated

    return decorate
