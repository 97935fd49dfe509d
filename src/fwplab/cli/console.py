"""Reading a command line and printing an answer, the same way for all commands."""

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
"""Columns of a table that goes to a file or a pipe."""


def parse(command: Any, arguments: Sequence[str], program: str, description: str | None = None) -> Any:
    """The instance of `command`, a dataclass or a union of them, that the arguments describe.

    `program`: the words before the arguments, such as "fwplab train". Raises `UserError` of one line where the
    arguments are wrong; `--help` prints the help and ends with `SystemExit`.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
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
            raise UserError(_one_line(said.getvalue())) from None
        raise


def _one_line(box: str) -> str:
    """The words of a framed message, without its frame and its title."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = (re.sub(r"[│╭╮╰╯─]+|-{3,}", " ", line) for line in plain.splitlines() if not line.startswith("╭"))
    words = re.sub(r"\s+", " ", " ".join(lines)).strip()
    return re.sub(r"^Error parsing __tyro-dummy-inner__\S*: ", "", words)


def seeded(seed: int) -> "np.random.Generator":
    """A generator of random numbers; a `UserError` where the seed is none."""
    import numpy as np  # takes a tenth of a second, and help needs none

    if seed < 0:
        raise UserError(f"a seed must not be negative: {seed}")
    return np.random.default_rng(seed)


def listed(catalogue: Catalogue[Any], describe: Callable[[str], Fact]) -> list[Fact]:
    """What `describe` says of every name in the catalogue. An entry of another package that fails is named on standard
    error, in one line, and left out, so that one bad plug-in does not hide the others."""
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
    """Prints `value` as JSON for a program, or `text`, a string or a rich table, for a person."""
    if as_json:
        print(json.dumps(value, indent=2))
    elif isinstance(text, str):
        print(text)
    else:
        console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        if isinstance(text, Table):
            console.width = max(console.width, _narrowest(console, text))
        console.print(text)


def _narrowest(console: Console, table: Table) -> int:
    """Columns below which rich would cut cells that do not wrap, and leave out the last ones.

    In a narrower terminal the lines of a table go on in the next one: ugly, but all there.
    """
    wide = console.options.update(width=1_000)
    for column in table.columns:
        if column.no_wrap:
            cells = (column.header, *column.cells)
            column.min_width = max(Measurement.get(console, wide, cell).maximum for cell in cells)
    return Measurement.get(console, wide, table).minimum
