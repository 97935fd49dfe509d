"""What is fed to the doors: texts, JSON values, and files of the program with something changed in them."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD = (
    "", " ", "\0", "a\0b", "\x1b[31mred\x1b[0m", "\ud800", "x\udcffy", "\u202e", "\ufeff", "\n", "a\nb", "\t", "-",
    "--", "-1", "--json", "~", "~nobody", "~nobody/x", "..", "a/b", "a" * 300, "é" * 200, "y " * 400, "x" * 70_000,
    "nan", "inf", "1e999", "9223372036854775807", "9223372036854775808", str(-(2**63) - 1), "1" + "0" * 40,
    "1" * 5_000, "0x10", "1_000", "%s", "{x}", "{0.__class__}", "[bold]", "<b>x</b>", "'", '"', "`", "\\", "?", "#",
    "x?y#z", "/dev/null/x", "/proc/x", "\N{KATAKANA LETTER A}\N{PILE OF POO}", "paper", "parity", "lstm", "null",
    "true",
)  # fmt: skip
"""Texts that have broken programs before."""
NUMBERS = (0, 1, -1, 2, 255, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**12, 10**30, 10**400)
FLOATS = (0.0, -0.0, 1e-320, 1e308, -1.0, 0.5, float("inf"), float("-inf"), float("nan"))

words = st.sampled_from(ODD) | st.text(st.characters(), max_size=12)
"""Any text, surrogates and control characters included."""
numbers = st.sampled_from(NUMBERS) | st.integers(-3, 300)
floats = st.sampled_from(FLOATS) | st.floats()
plain = st.none() | st.booleans() | numbers | floats | words
json_values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=8
)
Place = tuple[Any, ...]


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """The path to every value inside of a JSON value."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, inner in items:
        yield from places(inner, (*here, key))


@st.composite
def changed(draw: st.DrawFn, value: Any, most: int = 3) -> Any:
    """A JSON value with up to `most` changes: values replaced, fields removed, added or renamed, lists repeated."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, most))):
        *parents, key = draw(st.sampled_from([place for place in places(value) if place] or [(None,)]))
        if key is None:
            return draw(json_values)
        owner = value
        for each in parents:
            owner = owner[each]
        kind = draw(st.sampled_from(("replace", "replace", "number", "remove", "add", "rename", "repeat")))
        if kind == "replace":
            owner[key] = draw(json_values)
        elif kind == "number":
            owner[key] = draw(numbers | floats)
        elif kind == "repeat" and isinstance(owner[key], list):
            owner[key] = owner[key] * draw(st.integers(0, 3))
        elif isinstance(owner, dict):
            moved = owner.pop(key)
            if kind != "remove":
                owner[draw(words)] = moved if kind == "rename" else draw(json_values)
        else:
            del owner[key]
    return value


@st.composite
def json_texts(draw: st.DrawFn, value: Any) -> str:
    """JSON text: a value with changes, or with damage to the text, or nested without end."""
    text = json.dumps(draw(changed(value)))
    damage = draw(st.integers(0, 12))
    if damage == 0:
        depth, sign = draw(st.sampled_from((50, 900, 2_000, 100_000))), draw(st.sampled_from(("[]", "{}")))
        inner = sign[0] * depth if sign == "[]" else '{"a":' * depth
        return text[:-1] + ', "deep": ' + inner if draw(st.booleans()) else inner + sign[1] * depth
    if damage == 1:
        return draw(damaged(text.encode())).decode("latin-1")
    return text


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """Bytes with some of them flipped, cut off, repeated, replaced or inserted."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        kind = draw(st.sampled_from(("flip", "flip", "cut", "insert", "fill", "repeat")))
        if kind == "flip" and changed:
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[at:]
        elif kind == "insert":
            changed[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "fill":
            size = min(draw(st.sampled_from((1, 8, 64))), len(changed) - at)
            changed[at : at + size] = bytes([draw(st.sampled_from((0, 255, 34, 128)))]) * size
        elif kind == "repeat":
            changed += changed[at:]
    return bytes(changed)
