"""The command line: one command is found by name, carried out, and its end told by an exit code.

This module is light, so that help does not wait for PyTorch; `fwplab.cli.commands` lists the commands.
"""

import os
import sys
from collections.abc import Sequence

from fwplab.errors import UserError, WorkError

GOES_ON = "the same command goes on where this one stopped"


def main() -> None:
    """Runs the command line of this process and ends it with the exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carries out one command line and returns its exit code.

    Wrong input is one line on standard error and 2, a training that failed what its worker said and 1.
    """
    from fwplab.cli.commands import read_command

    try:
        code = read_command(arguments)()
        sys.stdout.flush()
    except UserError as error:
        print(f"fwplab: {error}", file=sys.stderr)
        return 2
    except WorkError as error:
        print(f"fwplab: {error}; {GOES_ON}" if error.resumable else f"fwplab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as end:  # help has been printed
        if end.code:
            raise
        return 0
    except KeyboardInterrupt:
        print(f"fwplab: interrupted; {GOES_ON}", file=sys.stderr)
        return 130
    return code
