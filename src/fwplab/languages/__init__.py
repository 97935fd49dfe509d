"""Formal languages: each knows its alphabet, its place in the hierarchy, its oracle and how to draw words."""

from functools import cache

from fwplab.languages.language import END, LANGUAGES, Language

__all__ = ["END", "LANGUAGES", "Language", "language"]


@cache
def language(name: str) -> Language:
    """The language called `name`; a `UserError` that lists the names if there is none.

    >>> " ".join(language("aa-star").labels("aaaa"))
    '0 1 0 1'
    """
    return LANGUAGES.load(name)()
