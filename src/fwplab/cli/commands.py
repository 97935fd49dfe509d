"""The commands by name. Only the module of the requested command is imported; help texts are read from source files."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Union, cast

from tyro.conf import subcommand

from fwplab.cli.console import parse
from fwplab.errors import UserError
from fwplab.source import class_text, first_paragraph
from fwplab.version import __version__

Command = Callable[[], int]


@dataclass(frozen=True)
class Group:
    """A command with several actions. Its default action is `list`, if it has one."""

    subject: str
    """What the command is about."""
    actions: Mapping[str, str]
    """The class of each action, as `module:Class`."""

    @property
    def summary(self) -> str:
        """Its line in the list of commands that `--help` prints."""
        return f"{self.subject}: {', '.join(self.actions)}."


COMMANDS: dict[str, str | Group] = {
    "train": "training:Train",
    "evaluate": "training:Evaluate",
    "reproduce": "report:Reproduce",
    "report": "report:Report",
    "plot": "plot:Plot",
    "runs": "runs:Runs",
    "explore": "explore:Explore",
    "extract": "extract:Extract",
    "probe": "probe:Probe",
    "smfa": Group(
        "Self-modifying finite automata",
        {
            "list": "smfa:ListMachines",
            "show": "smfa:ShowMachine",
            "run": "smfa:RunMachine",
            "extract": "smfa:ExtractMachine",
        },
    ),
    "study": Group(
        "The studies",
        {
            "list": "study_list:ListStudies",
            "run": "study:RunStudy",
            "status": "study:StatusStudy",
            "show": "study:ShowStudy",
            "export": "study:ExportStudy",
        },
    ),
    "search": "search:SearchCommand",
    "mixers": Group("The sequence mixers", {"list": "mixers:ListMixers", "show": "mixers:ShowMixer"}),
    "constructions": Group(
        "Models with weights set by hand",
        {
            "list": "constructions:ListConstructions",
            "show": "constructions:ShowConstruction",
            "check": "constructions:CheckConstruction",
            "bounds": "constructions:Bounds",
        },
    ),
    "languages": Group(
        "The formal languages",
        {
            "list": "languages:ListLanguages",
            "show": "languages:ShowLanguage",
            "sample": "languages:SampleLanguage",
            "label": "languages:LabelString",
            "classify": "languages:ClassifyLanguage",
        },
    ),
    "corpus": Group(
        "Corpora in the two published file formats",
        {"export": "corpus:ExportCorpus", "import": "corpus:ImportCorpus", "audit": "corpus:AuditCorpus"},
    ),
    "bench": "bench:Bench",
    "doctor": "doctor:Doctor",
}
"""The class of each command, as `module:Class` with a module of this folder."""
DESCRIPTION = (
    "Measures which formal languages sequence models recognise, over several seeds, with confidence intervals. "
    "`fwplab COMMAND --help` explains a command, `fwplab --version` prints the version."
)
HELP = ("-h", "--help")


def read_command(arguments: Sequence[str]) -> Command:
    """Parses the arguments to a command, ready to be called. Raises `UserError` for wrong arguments.

    `--help` prints the help and raises `SystemExit`, as tyro does.
    """
    name, *rest = arguments or [HELP[0]]
    if name == "--version":
        return _print_version
    if name in HELP:
        return _help("fwplab", DESCRIPTION, {name: _summary(entry) for name, entry in COMMANDS.items()})
    entry = COMMANDS.get(name)
    if entry is None:
        raise UserError(f"unknown command {name!r}; choose from: {', '.join(COMMANDS)}")
    if isinstance(entry, str):
        return _parsed(entry, rest, f"fwplab {name}")
    return _action(name, entry, rest)


def _action(name: str, group: Group, arguments: Sequence[str]) -> Command:
    action, *rest = arguments or ["--"]
    if action in HELP:
        return _help(f"fwplab {name}", group.summary, {each: _summary(place) for each, place in group.actions.items()})
    if action.startswith("-") and "list" in group.actions:
        action, rest = "list", list(arguments)
    if action not in group.actions:
        problem = "needs an action" if action.startswith("-") else f"has no action {action!r}"
        raise UserError(f"fwplab {name} {problem}; choose from: {', '.join(group.actions)}")
    return _parsed(group.actions[action], rest, f"fwplab {name} {action}")


def load_class(place: str) -> type[Command]:
    """Imports the class of a command. place: `module:Class`."""
    module, _, name = place.partition(":")
    return cast(type[Command], getattr(importlib.import_module(f"{__package__}.{module}"), name))


def _parsed(place: str, arguments: Sequence[str], program: str) -> Command:
    return cast(Command, parse(load_class(place), arguments, program))


def _summary(entry: str | Group) -> str:
    if isinstance(entry, Group):
        return entry.summary
    module, _, name = entry.partition(":")
    return first_paragraph(class_text(f"{__package__}.{module}", name).get("__doc__"))


def _help(program: str, description: str, summaries: Mapping[str, str]) -> Command:
    """Prints the commands of a program with their summaries, and raises `SystemExit`.

    The commands are not imported: tyro gets an empty class for each.
    """
    choices = []
    for name, summary in summaries.items():
        empty = dataclasses.make_dataclass(name.capitalize(), [])
        empty.__doc__ = summary
        choices.append(Annotated[empty, subcommand(name)])
    return cast(Command, parse(Union[tuple(choices)], HELP[:1], program, description))  # noqa: UP007


def _print_version() -> int:
    print(f"fwplab {__version__}")
    return 0
