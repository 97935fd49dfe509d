"""The command line: `fwplab train | evaluate | reproduce | report | runs | mixers | languages | corpus`."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import subcommand

from fwplab.cli.console import parse
from fwplab.cli.corpus import Corpus
from fwplab.cli.languages import Languages
from fwplab.cli.mixers import Mixers
from fwplab.cli.training import Evaluate, Report, Reproduce, Runs, Train
from fwplab.errors import UserError

Command = (
    Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Reproduce, subcommand("reproduce")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Runs, subcommand("runs")]
    | Annotated[Mixers, subcommand("mixers")]
    | Annotated[Languages, subcommand("languages")]
    | Annotated[Corpus, subcommand("corpus")]
)
DESCRIPTION = "What can a sequence model compute? Formal languages, fast weight programmers, seeds and intervals."


def main() -> None:
    """Runs the command line of this process and ends it with the exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carries out one command line and returns its exit code; wrong input is one line on standard error and 2."""
    try:
        code: int = parse(Command, arguments, DESCRIPTION)()
        sys.stdout.flush()
    except UserError as error:
        print(f"fwplab: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("fwplab: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    return code
