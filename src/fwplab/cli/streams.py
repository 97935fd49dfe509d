"""Standard output and standard error as the command line uses them: what cannot be written is one clear error."""

import io
import os
import sys
from typing import IO


class OutputError(Exception):
    """Standard output cannot be written; `closed` says that its reader has gone, as `head` does."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")
        self.closed = isinstance(error, BrokenPipeError)


def guard() -> None:
    """Replaces both streams: a failed write to standard output is an `OutputError`, and one to standard error is
    nothing, since there is nowhere left to say so."""
    if sys.stdout is not None:
        sys.stdout = _opened(_Output(sys.stdout.fileno(), "w", closefd=False), sys.stdout)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # as long as the process
    else:
        sys.stderr = _opened(_Errors(sys.stderr.fileno(), "w", closefd=False), sys.stderr)


def abandon() -> None:
    """Sends what is left in the buffer nowhere, so that Python does not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _opened(raw: io.FileIO, old: IO[str]) -> io.TextIOWrapper:
    assert isinstance(old, io.TextIOWrapper)
    line_buffering = old.line_buffering or isinstance(raw, _Errors)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=line_buffering,
        write_through=old.write_through,
    )


class _Output(io.FileIO):
    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from error


class _Errors(io.FileIO):
    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)
