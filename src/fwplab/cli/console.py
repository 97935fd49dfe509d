"""Parses command lines and prints results, in the same way for all commands."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import tyro
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from fwplab.catalogue import Catalogue
from fwplab.errors import UserError

if TYPE_CHECKING:
    import numpy as np

Fact = TypeVar("Fact")
PLAIN_WIDTH = 140
"""The width, in characters, of a table that is printed to a file or a pipe."""


def parse(command: Any, arguments: Sequence[str], program: str, description: str | None = None) -> Any:
    """Parses the arguments to an instance of `command`.

    command: a dataclass, or a union of dataclasses.
    arguments: the words of the command line after `program`.
    program: the words before the arguments, such as "fwplab train".
    description: the first line of the help; None for the docstring of the dataclass.

    Raises `UserError` with one line for wrong arguments. `--help` prints the help and raises `SystemExit`.
    """
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(
                command,
                prog=program,
                description=description,
                args=list(arguments),
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                ),
            )
    except SystemExit as end:
        if end.code:
            raise UserError(_one_line(messages.getvalue())) from None
        raise


def _one_line(box: str) -> str:
    """The text of a framed message on one line, without the frame and its title."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = (re.sub(r"[│╭╮╰╯─]+|-{3,}", " ", line) for line in plain.splitlines() if not line.startswith("╭"))
    words = re.sub(r"\s+", " ", " ".join(lines)).strip()
    return re.sub(r"^Error parsing __tyro-dummy-inner__\S*: ", "", words)


def seeded(seed: int) -> "np.random.Generator":
    """A random number generator with this seed. Raises `UserError` for a negative seed."""
    import numpy as np  # takes a tenth of a second, and help does not need it

    if seed < 0:
        raise UserError(f"a seed must not be negative: {seed}")
    return np.random.default_rng(seed)


def listed(catalogue: Catalogue[Any], describe: Callable[[str], Fact]) -> list[Fact]:
    """Applies `describe` to every name in the catalogue, and returns the results.

    If an entry of another package raises an error, it is left out and reported in one line on standard error, so that a
    faulty plug-in does not hide the other entries.
    """
    facts = []
    for name in catalogue.names():
        try:
            facts.append(describe(name))
        except (Exception, SystemExit) as error:
            if name in catalogue.own_names():
                raise
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            print(f"fwplab: {catalogue.kind} {name!r} is left out: {' '.join(why.split())}", file=sys.stderr)
    return facts


def emit(value: Any, *, as_json: bool, text: Any) -> None:
    """Prints `value` as JSON if `as_json`, else `text`: a string or an object that rich can print."""
    if as_json:
        print(json.dumps(value, indent=2))
    elif isinstance(text, str):
        print(text)
    else:
        console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        if isinstance(text, Table):
            console.width = max(console.width, _minimum_width(console, text))
        console.print(text)


def _minimum_width(console: Console, table: Table) -> int:
    """The smallest width at which rich neither truncates cells that do not wrap nor omits columns.

    A narrower terminal wraps the lines of the table. That is ugly, but complete.
    """
    wide = console.options.update(width=1_000)
    for column in table.columns:
        if column.no_wrap:
            cells = (column.header, *column.cells)
            column.min_width = max(Measurement.get(console, wide, cell).maximum for cell in cells)
    return Measurement.get(console, wide, table).minimum
