"""The command line: `fwplab train | evaluate | study | reproduce | report | plot | runs`, and what they need."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

from tyro.conf import subcommand

from fwplab.cli.bench import Bench
from fwplab.cli.console import parse
from fwplab.cli.constructions import Constructions
from fwplab.cli.corpus import Corpus
from fwplab.cli.explore import Explore
from fwplab.cli.extract import Extract
from fwplab.cli.languages import Languages
from fwplab.cli.mixers import Mixers
from fwplab.cli.plot import Plot
from fwplab.cli.probe import Probe
from fwplab.cli.report import Report, Reproduce
from fwplab.cli.search import SearchCommand
from fwplab.cli.smfa import SelfModifyingCommand
from fwplab.cli.study import StudyCommand
from fwplab.cli.training import Evaluate, Runs, Train
from fwplab.engines import TrainingError, WorkerLostError
from fwplab.errors import UserError

COMMANDS: dict[str, Any] = {
    "train": Train,
    "evaluate": Evaluate,
    "reproduce": Reproduce,
    "report": Report,
    "plot": Plot,
    "runs": Runs,
    "explore": Explore,
    "extract": Extract,
    "probe": Probe,
    "smfa": SelfModifyingCommand,
    "study": StudyCommand,
    "search": SearchCommand,
    "mixers": Mixers,
    "constructions": Constructions,
    "languages": Languages,
    "corpus": Corpus,
    "bench": Bench,
}
LISTED_BY_DEFAULT = ("study", "mixers", "constructions", "languages", "smfa")
"""Groups that list what they have when no action is named."""
GOES_ON = "the same command goes on where this one stopped"
DESCRIPTION = "What can a sequence model compute? Formal languages, fast weight programmers, seeds and intervals."


def main() -> None:
    """Runs the command line of this process and ends it with the exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carries out one command line and returns its exit code.

    Wrong input is one line on standard error and 2, a training that failed what its worker said and 1.
    """
    try:
        choices: Any = Union[tuple(Annotated[kind, subcommand(name)] for name, kind in COMMANDS.items())]  # noqa: UP007
        code: int = parse(choices, _completed(list(arguments)), DESCRIPTION)()
        sys.stdout.flush()
    except UserError as error:
        print(f"fwplab: {error}", file=sys.stderr)
        return 2
    except WorkerLostError as error:
        print(f"fwplab: {error}; {GOES_ON}", file=sys.stderr)
        return 1
    except TrainingError as error:
        print(f"fwplab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"fwplab: interrupted; {GOES_ON}", file=sys.stderr)
        return 130
    return code


def _completed(arguments: list[str]) -> list[str]:
    """The arguments with a group's default action; a `UserError` for a command that there is not."""
    name, *rest = arguments or [""]
    if not name.startswith("-") and name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; choose from: {', '.join(COMMANDS)}")
    acts = rest and (not rest[0].startswith("-") or rest[0] in ("-h", "--help"))
    return [name, "list", *rest] if name in LISTED_BY_DEFAULT and not acts else arguments
