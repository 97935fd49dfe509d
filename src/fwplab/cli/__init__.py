"""The command line: one command is found by name, carried out, and its end told by an exit code.

This module and what it imports at its top are light, so that signals are handled from the first line on and help does
not wait for PyTorch; `fwplab.cli.commands` lists the commands.
"""

import sys
from collections.abc import Sequence

from fwplab.cli import signals, streams
from fwplab.errors import UserError, WorkError


def main() -> None:
    """Runs the command line of this process and ends it with the exit code."""
    signals.install()
    streams.guard()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carries out one command line and returns its exit code.

    0: done, or the reader of the output has gone. 1: the work failed, or a command found something wrong. 2: wrong
    input. 130, 143: interrupted, terminated. All but 0 print one line on standard error, or what a worker said.
    """
    try:
        return _run(arguments)
    except BaseException as error:
        if signals.received() or isinstance(error, KeyboardInterrupt):
            return signals.say()
        if isinstance(error, streams.OutputError):
            streams.abandon()
            return 0 if error.closed else _complain(error, 1)
        if isinstance(error, UserError):
            return _complain(error, 2)
        if isinstance(error, WorkError):
            return _complain(f"{error}; {signals.GOES_ON}" if error.resumable else error, 1)
        raise


def _run(arguments: Sequence[str]) -> int:
    if sys.stdout is None:
        raise WorkError("standard output is closed, so that no answer can be written")
    from fwplab.cli.commands import read_command

    try:
        command = read_command(arguments)
        with signals.raised():
            code = command()
    except SystemExit as end:  # help has been printed
        if end.code:
            raise
        code = 0
    sys.stdout.flush()
    return code


def _complain(what: object, code: int) -> int:
    print(f"fwplab: {what}", file=sys.stderr)
    return code
