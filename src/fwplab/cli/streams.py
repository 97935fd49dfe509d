"""The two output streams of the command line: a failed write to standard output is one clear error."""

import io
import os
import sys
from typing import IO


class OutputError(Exception):
    """A write to standard output failed. `closed`: because its reader has closed the pipe, as `head` does."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")
        self.closed = isinstance(error, BrokenPipeError)


def install() -> None:
    """Replaces both streams. A failed write to standard output raises `OutputError`; one to standard error is ignored,
    because no stream is left to report it on."""
    if sys.stdout is not None:
        sys.stdout = _reopened(_Output(sys.stdout.fileno(), "w", closefd=False), sys.stdout)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # open until the process ends
    else:
        sys.stderr = _reopened(_Errors(sys.stderr.fileno(), "w", closefd=False), sys.stderr)


def discard_output() -> None:
    """Redirects standard output to the null device, so that Python can flush its buffer at exit without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reopened(raw: io.FileIO, old: IO[str]) -> io.TextIOWrapper:
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
