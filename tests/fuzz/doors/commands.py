"""The words of every command line: its own options with good values and bad ones, and words that belong nowhere."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import tyro
from hypothesis import strategies as st
from tests.fuzz.command import command
from tests.fuzz.door import Door
from tests.fuzz.values import ODD, numbers, words

from fwplab.cli.commands import COMMANDS, Group, load_class

CONFIG = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
WORK = (
    "fwplab.engines:train_all",
    "fwplab.engines.ray:Ray",
    "fwplab.studies.study:measure",
    "fwplab.recipes.search:work",
    "fwplab.cli.search:ProcessPoolExecutor",
    "streamlit.web.cli:main",
    "fwplab.benchmark.suite:work",
    "fwplab.benchmark.suite:gpu_work",
    "fwplab.ops.doctor:examine",
    "fwplab.training.evaluate:first_errors",
    "fwplab.extraction.extract:extract",
    "fwplab.smfa.propose:propose",
    "fwplab.cli.probe:_run_probes",
    "fwplab.report.report:write_report",
    "fwplab.verification.check:exhaustive",
    "fwplab.verification.bounds:eigenvalue_range",
)
"""Where the words have been understood and long work begins. There the case has ended well."""
GOOD = (
    "parity", "dyck_1", "lstm", "srwm", "recurrent-delta", "parity/lstm", "irie2023", "robustness", "time_scales",
    "spectrum", "paper", "strict", "last", "oracle", "0", "1", "2", "5", "20", "0.5", "1e-3", "cpu", "local", "csv",
    "latex", "parquet", "records", "new", "out.json", "out.dot", "out.svg", "out.html", "out.pdf", "sub/out.csv",
    "0110", "()", "bias=true", "steps=3", "linear", "all", "curves", "w_c_w", "srwm-parity", "127.0.0.1", "/dev/null",
    "/dev/full", ".", "both", "lstar", "answers",
)  # fmt: skip
"""Words that some option takes."""


class WorkBeginsError(BaseException):
    """The command has begun its work."""


class Option(NamedTuple):
    """An option or a positional argument of a command."""

    names: tuple[str, ...]
    values: int | str
    choices: tuple[str, ...]


def _commands() -> dict[tuple[str, ...], tuple[Option, ...]]:
    """The options of every command, from its own parser."""
    entries: dict[tuple[str, ...], str] = {}
    for name, entry in COMMANDS.items():
        entries |= (
            {(name, a): place for a, place in entry.actions.items()} if isinstance(entry, Group) else {(name,): entry}
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsers = {name: tyro.extras.get_parser(load_class(place), config=CONFIG) for name, place in entries.items()}
    return {name: tuple(map(_option, parser._actions)) for name, parser in parsers.items()}


def _option(action: Any) -> Option:
    values = 1 if action.nargs is None else action.nargs
    return Option(tuple(action.option_strings), values, tuple(map(str, action.choices or ())))


OPTIONS = _commands()


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line: mostly a command with its own options."""
    name = draw(st.sampled_from(sorted(OPTIONS)))
    line = [*name]
    for option in OPTIONS[name]:
        if option.names and "--help" in option.names and draw(st.integers(0, 40)):
            continue
        needed = not option.names or option.names[0] in ("--language", "--mixer")
        if draw(st.integers(0, 9)) > 0 if needed else draw(st.integers(0, 3)) == 0:
            line += _words(draw, option)
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 2)))):
        line.insert(draw(st.integers(0, len(line))), draw(st.sampled_from(ODD) | st.sampled_from(GOOD) | words))
    if draw(st.integers(0, 15)) == 0:
        del line[draw(st.integers(0, len(line) - 1)) :]
    return line


def _words(draw: st.DrawFn, option: Option) -> list[str]:
    number = option.values if isinstance(option.values, int) else draw(st.integers(option.values == "+", 2))
    choices = st.sampled_from(option.choices) if option.choices else st.sampled_from(GOOD)
    one = st.one_of(choices, choices, choices, numbers.map(_digits), words)
    if option.names[:1] == ("--language",):
        one = st.sampled_from(("parity", "dyck_1", "dyck-1", "counter_2")) | one
    if option.names[:1] == ("--mixer",):
        one = st.sampled_from(("lstm", "srwm", "delta-net")) | one
    return [*option.names[:1], *(draw(one) for _ in range(number))]


def _digits(number: int) -> str:
    return str(number) if abs(number) < 10**300 else "1" + "0" * 400


@contextmanager
def _until_work_begins() -> Iterator[None]:
    def begin(*arguments: object, **named: object) -> None:
        raise WorkBeginsError

    with ExitStack() as stack:
        for place in WORK:
            module, _, name = place.partition(":")
            stack.enter_context(mock.patch.object(importlib.import_module(module), name, begin))
        stack.enter_context(mock.patch("socket.getaddrinfo", _numeric_address))
        with suppress(WorkBeginsError):
            yield


def _numeric_address(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
    """`socket.getaddrinfo` without a name server."""
    import _socket
    import socket

    named["flags"] = named.get("flags", 0) | socket.AI_NUMERICHOST
    return _socket.getaddrinfo(host, port, *arguments, **named)


def run(line: list[str], folder: Path) -> None:
    """The command line runs until its work begins."""
    if any((word.startswith("/") and not word.startswith(("/dev/", "/proc/"))) or ".." in word for word in line):
        return
    with _until_work_begins():
        command(line)


DOORS = (Door("commands", lines(), run, 3_000, 40, deadline=40.0),)
