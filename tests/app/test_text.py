"""Text from outside is shown as text: the two ways to show it, and that the pages know no other."""

import ast
from html import unescape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import fwplab.app
from fwplab.app.text import code

HOSTILE = (
    "![x](http://example.invalid/x.png) <img src='http://example.invalid/y.png'> <script>alert(1)</script> "
    "[l](http://example.invalid) $\\latex$ :material/home: :smile: :red[r] **b** `c` ``d`` &amp; http://example.invalid"
)
PAGES = sorted(Path(next(iter(fwplab.app.__path__))).glob("*.py"))
MARKDOWN = {
    *("markdown", "caption", "write", "title", "header", "subheader", "latex", "badge", "metric", "popover", "tabs"),
    *("error", "warning", "info", "success", "exception", "toast", "progress", "spinner", "status", "expander"),
    *("button", "selectbox", "multiselect", "radio", "toggle", "checkbox", "text_input", "text_area", "number_input"),
    *("slider", "pills", "link_button", "page_link", "download_button"),
}
"""Functions whose text or label Streamlit reads as Markdown."""
KNOWN = {
    "f'**{name}**'": "a model of the study irie2023",
    "f'**{language}**'": "a language of the study irie2023",
    "f'{title}: {len(machine)} states'": "one of two words",
    "text": "numbers, and a start quoted by code()",
    "label": "the argument of choose() and number(), which are checked themselves, or quoted by code()",
    "job.share": "a number",
    "step / run.protocol.max_steps": "a number",
    "'waiting for another training' if job.waiting else stage": "one of three words",
}
"""What is no constant in such a place, and why nobody else chooses it."""


@pytest.mark.parametrize("kind", ["text", "note", "information", "good", "warning", "bad"])
def test_shown_text_is_escaped(kind: str) -> None:
    def page(text: str, kind: str) -> None:
        from fwplab.app.text import show

        show(text, kind)  # type: ignore[arg-type]

    app = AppTest.from_function(page, kwargs={"text": HOSTILE, "kind": kind}).run()
    (element,) = app.main.children.values()
    body = element.proto.body  # type: ignore[attr-defined]
    opening, _, rest = body.partition(">")
    inside, _, closing = rest.rpartition("<")
    assert (opening[:4], closing) == ("<div", "/div>")
    assert "<" not in inside
    assert unescape(inside) == HOSTILE


@pytest.mark.parametrize("text", [HOSTILE, "`", "a``b", "```", "``` x", " x ", "", "a\n\nb", "`` ``` `"])
def test_quoted_text_is_one_span_of_code(text: str) -> None:
    quoted = code(text)
    fence = quoted[: len(quoted) - len(quoted.lstrip("`"))]
    inside = quoted.removeprefix(fence + " ").removesuffix(" " + fence)
    assert quoted == f"{fence} {inside} {fence}"
    assert fence not in _runs(inside)
    assert inside == (" ".join(text.split()) or "-")


def _runs(text: str) -> list[str]:
    """The runs of backticks in a text."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_markdown_is_a_constant_or_quoted(file: Path) -> None:
    """No page gives Streamlit a text as Markdown that comes from elsewhere."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in MARKDOWN | {"choose", "number"} and node.args:
            texts = [node.args[1]] if name == "progress" and len(node.args) > 1 else [node.args[0]]
            for text in texts:
                assert _is_safe(text), f"{file.name}, line {node.lineno}: {ast.unparse(text)}"


def _is_safe(text: ast.expr) -> bool:
    if isinstance(text, ast.JoinedStr):
        holes = [part.value for part in text.values if isinstance(part, ast.FormattedValue)]
        quoted = [hole for hole in holes if isinstance(hole, ast.Call) and getattr(hole.func, "id", "") == "code"]
        constants = [hole for hole in holes if isinstance(hole, ast.Name) and hole.id.isupper()]
        return len(quoted) + len(constants) == len(holes) or ast.unparse(text) in KNOWN
    return isinstance(text, ast.Constant) or ast.unparse(text) in KNOWN
