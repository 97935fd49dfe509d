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


def check(language: Language) -> None:
    """A `UserError` that names what a language breaks, found on all short strings and some longer words.

    Asked is: states that can be compared and kept, known labels and symbols, next symbols that agree with the moves,
    as many words as it counts, and words drawn that are words; where the language states its rule a second time
    (`word_rule`), that the states give the same words and labels.
    """
    try:
        broken = _alphabet(language) or _short_strings(language) or _drawn(language)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        broken = f"fails: {type(error).__name__}: {error}".splitlines()[0]
    if broken:
        raise UserError(f"language {language.name!r} {broken}; docs/own-layer.md says what a language must do")


def _alphabet(language: Language) -> str | None:
    symbols, classes = language.symbols, language.classes
    if not symbols or any(len(symbol) != 1 for symbol in symbols) or len(set(symbols)) < len(symbols):
        return f"needs different single characters as symbols, not {symbols}"
    if not classes or len(set(classes)) < len(classes):
        return f"needs different label classes, not {classes}"
    return None


def _short_strings(language: Language) -> str | None:
    """All strings of a length, then of the next, as long as they are few."""
    level: list[tuple[str, Any]] = [("", language.start)]
    length = 0
    while length <= SHORT and len(level) <= STRINGS:
        words = sum(END in language.following(state) for _, state in level)
        if words != language.count(length):
            return f"counts {language.count(length)} words of length {length}, where {words} strings are words"
        for string, state in level:
            if wrong := _against_rule(language, string, state):
                return wrong
        longer = []
        for string, state in level:
            for symbol in language.symbols:
                after = language.step(state, symbol)
                if wrong := _move(language, string + symbol, state, after):
                    return wrong
                longer.append((string + symbol, after))
        level, length = longer, length + 1
    return None


def _against_rule(language: Language, string: str, state: Any) -> str | None:
    """Where the states and the rule that is written apart from them differ."""
    by_rule, word = language.word_rule(string), END in language.following(state)
    if by_rule is None:
        return None
    if by_rule != word:
        by_states, rule = ("a word", "none") if word else ("no word", "one")
        return f"says that {string!r} is {by_states}, and its word_rule that it is {rule}"
    if string and language.label(state) != language.label_rule(string):
        return f"labels {string!r} {language.label(state)!r}, and by its label_rule {language.label_rule(string)!r}"
    return None


def _move(language: Language, string: str, before: Any, after: Any) -> str | None:
    """What is wrong with the last symbol of a string."""
    symbol, following, label = string[-1], language.following(after), language.label(after)
    hash(after)
    if language.step(before, symbol) != after:
        return f"moves to another state the second time that it reads {string!r}: a step must not change its state"
    if not following <= {*language.symbols, END}:
        return f"lets {sorted(following - {*language.symbols, END})} follow {string!r}, which are no symbols"
    if label is not None and label not in language.classes:
        return f"labels {string!r} {label!r}, which is none of its classes"
    if following and label is None:
        return f"has no label at the end of {string!r}, which words begin with"
    if bool(following) != (symbol in language.following(before)):
        may, does = ("may not", "words do") if following else ("may", "no word does")
        return f"says that {symbol!r} {may} follow {string[:-1]!r}, but {does} begin with {string!r}"
    return None


def _drawn(language: Language) -> str | None:
    lengths = language.lengths(1, LENGTHS)
    for length in sorted({*lengths[:1], *lengths[len(lengths) // 2 :][:1], *lengths[-1:]}):
        tokens = language.draw(length, DRAWN, np.random.default_rng(0))
        if tokens.shape != (DRAWN, length) or not np.issubdtype(tokens.dtype, np.integer):
            return f"draws {tokens.dtype} {list(tokens.shape)}, not whole numbers [{DRAWN}, {length}]"
        if tokens.min() < 0 or tokens.max() >= len(language.symbols):
            return f"draws a token that is no index of its symbols, at length {length}"
        words = ["".join(language.symbols[token] for token in row) for row in tokens]
        if strange := next((word for word in words if not language.contains(word)), None):
            return f"draws {strange!r}, which is no word"
        if not np.array_equal(tokens, language.draw(length, DRAWN, np.random.default_rng(0))):
            return "draws other words from the same generator"
    return None
