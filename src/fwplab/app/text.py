"""Text on the pages. What comes from a file, a field, an error or another package is shown as it is.

Streamlit reads most texts as Markdown, in which an image is fetched, a formula is typeset, and `:name:` is a picture. A
backslash does not stop all of that. So such a text is either shown by `show`, or quoted by `code` where a label has to
be Markdown. Pictures made of HTML escape their texts themselves (`fwplab.app.drawing`). Options of select boxes, cells
of tables and blocks of code are plain text already.
"""

import re
from html import escape
from typing import Any, Literal

import streamlit as st

Kind = Literal["text", "note", "information", "good", "warning", "bad"]
COLOURS: dict[Kind, str] = {
    "information": "0 114 178",
    "good": "33 195 84",
    "warning": "255 190 0",
    "bad": "255 75 75",
}
"""Red, green and blue of the boxes; the text keeps the colour of the page."""
STYLES: dict[Kind, str] = {"text": "", "note": "font-size:.875rem;opacity:.7;"}


def show(text: object, kind: Kind = "text", place: Any = st) -> None:
    """Shows a text with its line breaks, and nothing in it as markup.

    kind: how it looks: as text, as a small note, or in a box.
    place: the column or container; by default the page.
    """
    box = ""
    if kind in COLOURS:
        box = f"background:rgb({COLOURS[kind]} / .15);padding:1rem;border-radius:.5rem;"
    style = f"white-space:pre-wrap;overflow-wrap:anywhere;{box}{STYLES.get(kind, '')}"
    role = ' role="alert"' if kind in ("warning", "bad") else ""
    place.html(f'<div{role} style="{style}">{escape(str(text))}</div>')


def code(text: str) -> str:
    """The text as code in Markdown, where nothing inside is markup. The fence is longer than any run of backticks.

    >>> code("a `b` $c$")
    '`` a `b` $c$ ``'
    """
    line = " ".join(text.split()) or "-"
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}"
