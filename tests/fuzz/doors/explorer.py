"""The fields of the explorer's pages, with values that a browser might send although its page would not."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest
from tests.fuzz.door import Door, message_error
from tests.fuzz.values import ODD, numbers, words

from fwplab.app import drawing

PAGES = ("language", "reader", "automaton", "runs", "ladder")
BUTTONS = ("other words", "draw a word", "to the first error")
"""The buttons that start no long work."""
TAGS = frozenset(
    [
        "div",
        "span",
        "svg",
        "title",
        "text",
        "rect",
        "line",
        "g",
        "path",
        "circle",
        "polyline",
        "small",
        "b",
        "img",
        "style",
        "br",
        "pre",
        "code",
        "figure",
        "figcaption",
    ]
)


class Visit(NamedTuple):
    """A page, and what is put into its fields: the kind of a field, which of them, and the value."""

    page: str
    steps: tuple[tuple[str, int, Any], ...]


STRINGS = st.text(st.sampled_from("01()ab"), max_size=30) | st.text(st.sampled_from("01"), max_size=30) | words
FIELDS = st.one_of(
    st.tuples(st.just("text_input"), st.integers(0, 3), STRINGS),
    st.tuples(st.just("number_input"), st.integers(0, 3), numbers.filter(lambda n: abs(n) < 2**1023)),
    st.tuples(st.just("selectbox"), st.integers(0, 3), st.integers(0, 12)),
    st.tuples(st.just("slider"), st.integers(0, 1), st.integers(-2, 60)),
    st.tuples(st.just("toggle"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("radio"), st.integers(0, 1), st.integers(0, 4)),
    st.tuples(st.just("button"), st.integers(0, 3), st.none()),
)
visits = st.builds(Visit, st.sampled_from(PAGES), st.lists(FIELDS, max_size=3).map(tuple))


def visit(case: Visit, folder: Path) -> None:
    """A page is opened and its fields are filled in; it shows no traceback and no long error."""
    test = AppTest.from_string(f"from fwplab.app import {case.page}\n{case.page}.page()", default_timeout=60)
    with mock.patch("fwplab.app.language.Job", side_effect=AssertionError("a training was started")):
        test.run()
        for kind, which, value in case.steps:
            fields = test.get(kind)
            if which < len(fields) and _fill(fields[which], kind, value):
                test.run()
    problems = [f"{error.message}\n{error.stack_trace}" for error in test.exception]
    assert not problems, problems[0]
    for error in test.error:
        if error.value and (wrong := message_error(error.value)):
            raise AssertionError(f"{wrong}: {error.value!r}")


def _fill(field: Any, kind: str, value: Any) -> bool:
    """Puts the value into the field, if it has such a value."""
    if kind == "button":
        if field.label not in BUTTONS:
            return False
        field.click()
    elif kind in ("selectbox", "radio"):
        if value >= len(field.options):
            return False
        field.select_index(value) if kind == "selectbox" else field.set_value(field.options[value])
    elif kind == "text_input":
        field.set_value(value.encode("utf-8", "replace").decode())
    else:
        field.set_value(value)
    return True


class _Tags(HTMLParser):
    """Collects what no picture has: other tags, handlers of events, and addresses outside of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.foreign += [tag] if tag not in TAGS else []
        for name, value in attrs:
            if name.startswith("on") or (name in ("src", "href") and not str(value).startswith("data:image/")):
                self.foreign.append(f"{name}={value}")


def _strip(text: str) -> str:
    return drawing.string_strip(
        text, [text[:1] or "-"] * len(text), ["<img src=x>"] * len(text), 0, None, range(len(text))
    )


PICTURES: tuple[Callable[[str], str], ...] = (
    lambda text: drawing.captioned("<svg></svg>", text),
    lambda text: drawing.heat_map(np.array([[1.0, float("nan")]]), 1.0, text, cell=3.0),
    lambda text: drawing.curves({text: [1.0, float("inf"), float("nan")]}, 0, text),
    lambda text: drawing.complex_plane(np.array([1 + 1j, complex("nan")]), text),
    _strip,
)
MARKUP = st.sampled_from(
    (*ODD, "<script>alert(1)</script>", '"><img src=http://x onerror=y>', "' onload='x", "&lt;b&gt;", "]]>", "<!--")
)


def draw(case: tuple[int, str], folder: Path) -> None:
    """A text in a picture stays text."""
    which, text = case
    tags = _Tags()
    tags.feed(PICTURES[which](text[:200]))
    assert not tags.foreign, tags.foreign


DOORS = (
    Door("explorer pages", visits, visit, 200, 3, deadline=120.0),
    Door("explorer pictures", st.tuples(st.integers(0, len(PICTURES) - 1), MARKUP | words), draw, 5_000, 30),
)
