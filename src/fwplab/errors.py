"""Errors that the command line prints as one line instead of a traceback."""

import re

LONGEST_LINE = 2_000
LONGEST_WORD = 200
LONGEST_TEXT = 300
"""The most characters of an error before the list of choices."""
CHOICES = "choose from: "
LONGEST_SHOWN = 80


class UserError(ValueError):
    """Input that the user can correct; exit code 2.

    The text is one line that names the choices. The command line prints it. What it quotes may be anything, so line
    breaks become blanks, and long words and the line are cut.
    """

    def __init__(self, text: object) -> None:
        super().__init__(one_line(str(text)))


class WorkError(RuntimeError):
    """Right input, but the work cannot be finished; exit code 1."""

    resumable = False
    """Whether the same command, started again, goes on where this one stopped."""


def one_line(text: str) -> str:
    """The text on one line that any terminal can print, with a mark where it was cut.

    >>> one_line("a name " + 400 * "x" + chr(10) + "choose from: a")[-30:]
    'xxxxxxxxxxxxxxx choose from: a'
    """
    unbroken = " ".join(line.strip() for line in text.strip().splitlines())
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in unbroken)
    cut = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: _cut(word[0], LONGEST_WORD), plain)
    before, sign, choices = cut.partition(CHOICES)
    return _cut(f"{_cut(before, LONGEST_TEXT)}{sign}{choices}", LONGEST_LINE)


def shown(value: object) -> str:
    """`repr` of a value for an error line, cut to a readable length.

    >>> shown("x" * 1_000)[:12]
    "'xxxxxxxxxxx"
    """
    try:
        return _cut(repr(value), LONGEST_SHOWN)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists without end
        return f"a {type(value).__name__} that is too long to print"


def _cut(text: str, longest: int) -> str:
    """The beginning and the end of the text, with dots between them if it is too long."""
    if len(text) <= longest:
        return text
    return f"{text[: longest * 2 // 3]}...{text[-(longest // 3 - 3) :]}"
