"""The command line: finds a command by name, runs it, and returns an exit code.

This module and its imports at the top load fast. So signals are handled from the start, and `--help` does not wait for
PyTorch. `fwplab.cli.commands` lists the commands.
"""

import sys
import warnings
from collections.abc import Sequence

from fwplab.cli import signals, streams
from fwplab.errors import UserError, WorkError, shown


def main() -> None:
    """Runs the command line of this process, and exits with its exit code."""
    signals.install()
    streams.install()
    warnings.formatwarning = _format_warning
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    - 0: success, or the reader of standard output has closed it.
    - 1: the work failed, or a check found an error.
    - 2: wrong input.
    - 130: interrupted. 143: terminated.

    With any code but 0, standard error has one line that says why, or the output of the worker that failed.
    """
    try:
        return _run(arguments)
    except BaseException as error:
        if signals.received() or isinstance(error, KeyboardInterrupt):
            return signals.report_signal()
        if isinstance(error, streams.OutputError):
            streams.discard_output()
            return 0 if error.closed else _fail(error, 1)
        if isinstance(error, UserError):
            return _fail(error, 2)
        if isinstance(
            error, OSError
        ):  # of a file that is named: missing, protected, with too long a name, on a full disk
            return _fail(UserError(f"{error.filename or 'the system'}: {error.strerror or error}"), 2)
        if isinstance(error, WorkError):
            return _fail(f"{error}; {signals.RESUMABLE}" if error.resumable else error, 1)
        raise


def _run(arguments: Sequence[str]) -> int:
    if sys.stdout is None:
        raise WorkError("standard output is closed, so that no answer can be written")
    from fwplab.cli.commands import read_command

    for word in arguments:
        if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
            raise UserError(f"{shown(word)} is no text in UTF-8; choose a name that is")
    try:
        command = read_command(arguments)
        with signals.as_exceptions():
            code = command()
    except SystemExit as end:  # help has been printed
        if end.code:
            raise
        code = 0
    sys.stdout.flush()
    return code


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line: fwplab's own warnings as they are, others with their place."""
    place = "" if str(message).startswith("fwplab: ") else f"{filename}:{lineno}: {category.__name__}: "
    return f"{place}{message}\n"


def _fail(message: object, code: int) -> int:
    print(f"fwplab: {message}", file=sys.stderr)
    return code
