"""The word problem of a cyclic group."""

from typing import Any

from fwplab.errors import UserError
from fwplab.languages._group import NAMES, WordProblem, word_problem


class CyclicN(WordProblem):
    """Strings of numbers modulo n with the sum 0, for n from 2 on. The label of a position is the sum up to there.

    This is the word problem of Z_n, which is abelian. The symbols are the characters 0, 1, ... of the numbers.
    The option `tokens` is that of `fwplab.languages._group.WordProblem`.

    `draw` is uniform over all words of a length.

    >>> from fwplab.languages import load_language
    >>> five = load_language("cyclic_5")
    >>> " ".join(five.labels("2314"))
    '2 0 1 0'
    >>> five.contains("23"), five.contains("22"), five.count(3)
    (True, False, 25)
    >>> " ".join(load_language("cyclic_5:tokens=2").labels("2.3.1."))
    '2 2 0 0 1 1'
    """

    numbers = (3, 5, 60)

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 2 <= number <= len(NAMES):
            raise UserError(f"cyclic_n has members for n from 2 to {len(NAMES)}, not {number}")
        shifts = (tuple((place + shift) % number for place in range(number)) for shift in range(number))
        return word_problem(shifts, **options)
