"""The command line in this process: what it prints and returns, judged like any other door."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

from fwplab import cli
from fwplab.errors import UserError


class WrongEndError(AssertionError):
    """The command line ended in another way than it promises."""


def command(words: Sequence[str]) -> int:
    """Runs `fwplab WORDS` and returns its exit code, 0 or 1. Raises the `UserError` of the exit code 2.

    Raises `WrongEndError` if the exit code 2 comes without exactly one line on standard error, or with something on
    standard output, and for other exit codes.
    """
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = cli.run(list(words))
    said = errors.getvalue()
    if code == 2:
        if not said.startswith("fwplab: ") or not said.endswith("\n") or out.getvalue():
            raise WrongEndError(f"exit code 2 with {said!r} and the output {out.getvalue()!r}")
        if len(said.splitlines()) != 1:
            raise WrongEndError(f"exit code 2 with several lines: {said!r}")
        _raise(said.removeprefix("fwplab: ").removesuffix("\n"))
    if code not in (0, 1):
        raise WrongEndError(f"exit code {code} with {said!r}")
    return code


def _raise(line: str) -> None:
    """Raises a `UserError` with exactly this text, so that the judge sees what the user sees."""
    error = UserError("")
    error.args = (line,)
    raise error
