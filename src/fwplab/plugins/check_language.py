"""Checks of a language from another package against the requirements of `Language`.

A language that breaks one of them would not fail in training, but give wrong words or labels.
"""

from typing import Any

import numpy as np

from fwplab.errors import UserError
from fwplab.languages.language import END, Language

SHORT, STRINGS = 12, 5_000
"""The check reads all strings of up to `SHORT` symbols, and stops at a length with more than `STRINGS` of them."""
LENGTHS = 60
"""The largest length at which words are drawn."""
DRAWN = 20
"""The number of words that are drawn at each of up to three lengths."""


def check(language: Language) -> None:
    """Checks a language on all short strings and on some longer words.

    The requirements:

    - States are hashable and comparable, and `step` gives equal states for equal arguments.
    - `label` and `following` return known classes and symbols.
    - `following` agrees with `step`: it contains exactly the symbols with which some word continues.
    - `count` gives the number of words.
    - `draw` returns words, and the same words for the same seed.
    - If the language defines `word_rule`, the states give the same words and labels.

    Raises `UserError` with the first requirement that is not met.
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
    """Checks all strings, one length after the other, while there are few of them."""
    level: list[tuple[str, Any]] = [("", language.start)]
    length = 0
    while length <= SHORT and len(level) <= STRINGS:
        words = sum(END in language.following(state) for _, state in level)
        if words != language.count(length):
            return f"counts {language.count(length)} words of length {length}, but {words} strings are words"
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
    """The first difference between the states and the second definition; None if there is none."""
    by_rule, word = language.word_rule(string), END in language.following(state)
    if by_rule is None:
        return None
    if by_rule != word:
        by_states, rule = ("a word", "no word") if word else ("no word", "a word")
        return f"says by its states that {string!r} is {by_states}, but by its word_rule that it is {rule}"
    if string and language.label(state) != language.label_rule(string):
        return f"labels {string!r} {language.label(state)!r}, but its label_rule says {language.label_rule(string)!r}"
    return None


def _move(language: Language, string: str, before: Any, after: Any) -> str | None:
    """What is wrong with the last step of `string`, from the state `before` to `after`; None if nothing is."""
    symbol, following, label = string[-1], language.following(after), language.label(after)
    hash(after)  # raises TypeError if the state is not hashable
    if language.step(before, symbol) != after:
        return f"moves to another state the second time that it reads {string!r}: step must not depend on earlier calls"
    if not following <= {*language.symbols, END}:
        return f"lets {sorted(following - {*language.symbols, END})} follow {string!r}, which are not in its alphabet"
    if label is not None and label not in language.classes:
        return f"labels {string!r} {label!r}, which is not one of its classes"
    if following and label is None:
        return f"has no label at the end of {string!r}, but some word begins with it"
    if bool(following) != (symbol in language.following(before)):
        may, begins = ("may not", "some word begins") if following else ("may", "no word begins")
        return f"says that {symbol!r} {may} follow {string[:-1]!r}, but {begins} with {string!r}"
    return None


def _drawn(language: Language) -> str | None:
    """Checks the words that `draw` returns at the shortest, the middle and the longest length."""
    lengths = language.lengths(1, LENGTHS)
    for length in sorted({*lengths[:1], *lengths[len(lengths) // 2 :][:1], *lengths[-1:]}):
        tokens = language.draw(length, DRAWN, np.random.default_rng(0))
        if tokens.shape != (DRAWN, length) or not np.issubdtype(tokens.dtype, np.integer):
            return f"draws {tokens.dtype} {list(tokens.shape)}, not integers [{DRAWN}, {length}]"
        if tokens.min() < 0 or tokens.max() >= len(language.symbols):
            return f"draws a token that is not an index into its symbols, at length {length}"
        words = ["".join(language.symbols[token] for token in row) for row in tokens]
        if strange := next((word for word in words if not language.contains(word)), None):
            return f"draws {strange!r}, which is not a word"
        if not np.array_equal(tokens, language.draw(length, DRAWN, np.random.default_rng(0))):
            return "draws different words with the same seed"
    return None
