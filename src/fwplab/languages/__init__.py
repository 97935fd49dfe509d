"""Formal languages. A language gives its alphabet, its place in the hierarchy, its states, and random words."""

from functools import cache

from fwplab.languages._regular import Regular
from fwplab.languages.language import END, LANGUAGES, Language, short_name

__all__ = ["END", "LANGUAGES", "Language", "Regular", "language", "load_language", "short_name"]


@cache
def load_language(name: str) -> Language:
    """Returns the language called `name`. Raises a `UserError` that lists the names if there is none.

    The name may be a definition, such as `regex:(ab|ba)*` or `dfa:FILE`; see `fwplab.languages._definition`.

    >>> " ".join(load_language("aa-star").labels("aaaa"))
    '0 1 0 1'
    """
    return LANGUAGES.load(name)()


language = load_language
"""The former name of `load_language`, kept for programs that use it."""
