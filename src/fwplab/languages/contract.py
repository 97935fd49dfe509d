"""Whether a language from outside does what `Language` promises: what it breaks would be wrong labels or words."""

from typing import Any

import numpy as np

from fwplab.errors import UserError
from fwplab.languages.language import END, Language

SHORT, STRINGS = 12, 5_000
"""All strings up to this length are read, or up to the first length of which there are more than this."""
LENGTHS = 60
"""Words are drawn at up to three of the lengths from 1 to this."""
DRAWN = 20


def check(spoken: Language) -> None:
    """A `UserError` that names what a language breaks, found on all short strings and some longer words.

    Asked is: states that can be compared and kept, known labels and symbols, next symbols that agree with the moves,
    as many words as it counts, and words drawn that are words.
    """
    try:
        broken = _alphabet(spoken) or _short_strings(spoken) or _drawn(spoken)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        broken = f"fails: {type(error).__name__}: {error}".splitlines()[0]
    if broken:
        raise UserError(f"language {spoken.name!r} {broken}; docs/own-layer.md says what a language must do")


def _alphabet(spoken: Language) -> str | None:
    symbols, classes = spoken.symbols, spoken.classes
    if not symbols or any(len(symbol) != 1 for symbol in symbols) or len(set(symbols)) < len(symbols):
        return f"needs different single characters as symbols, not {symbols}"
    if not classes or len(set(classes)) < len(classes):
        return f"needs different label classes, not {classes}"
    return None


def _short_strings(spoken: Language) -> str | None:
    """All strings of a length, then of the next, as long as they are few."""
    level: list[tuple[str, Any]] = [("", spoken.start)]
    length = 0
    while length <= SHORT and len(level) <= STRINGS:
        words = sum(END in spoken.following(state) for _, state in level)
        if words != spoken.count(length):
            return f"counts {spoken.count(length)} words of length {length}, where {words} strings are words"
        longer = []
        for string, state in level:
            for symbol in spoken.symbols:
                after = spoken.step(state, symbol)
                if wrong := _move(spoken, string + symbol, state, after):
                    return wrong
                longer.append((string + symbol, after))
        level, length = longer, length + 1
    return None


def _move(spoken: Language, string: str, before: Any, after: Any) -> str | None:
    """What is wrong with the last symbol of a string."""
    symbol, following, label = string[-1], spoken.following(after), spoken.label(after)
    hash(after)
    if spoken.step(before, symbol) != after:
        return f"moves to another state the second time that it reads {string!r}: a step must not change its state"
    if not following <= {*spoken.symbols, END}:
        return f"lets {sorted(following - {*spoken.symbols, END})} follow {string!r}, which are no symbols"
    if label is not None and label not in spoken.classes:
        return f"labels {string!r} {label!r}, which is none of its classes"
    if following and label is None:
        return f"has no label at the end of {string!r}, which words begin with"
    if bool(following) != (symbol in spoken.following(before)):
        may, does = ("may not", "words do") if following else ("may", "no word does")
        return f"says that {symbol!r} {may} follow {string[:-1]!r}, but {does} begin with {string!r}"
    return None


def _drawn(spoken: Language) -> str | None:
    lengths = spoken.lengths(1, LENGTHS)
    for length in sorted({*lengths[:1], *lengths[len(lengths) // 2 :][:1], *lengths[-1:]}):
        tokens = spoken.draw(length, DRAWN, np.random.default_rng(0))
        if tokens.shape != (DRAWN, length) or not np.issubdtype(tokens.dtype, np.integer):
            return f"draws {tokens.dtype} {list(tokens.shape)}, not whole numbers [{DRAWN}, {length}]"
        if tokens.min() < 0 or tokens.max() >= len(spoken.symbols):
            return f"draws a token that is no index of its symbols, at length {length}"
        words = ["".join(spoken.symbols[token] for token in row) for row in tokens]
        if strange := next((word for word in words if not spoken.contains(word)), None):
            return f"draws {strange!r}, which is no word"
        if not np.array_equal(tokens, spoken.draw(length, DRAWN, np.random.default_rng(0))):
            return "draws other words from the same generator"
    return None
