"""The word problem of a symmetric group."""

from itertools import permutations
from typing import Any

from fwplab.errors import UserError
from fwplab.languages._group import WordProblem, word_problem


class SymmetricN(WordProblem):
    """Strings of permutations of n places with the product identity, for n from 2 to 5.

    The label of a position is the product up to there. S_5 is not solvable: its word problem is complete for NC1
    (Barrington 1989), while those of S_3 and S_4 are in TC0. For the names of the permutations and the options
    `generators` and `tokens` see `fwplab.languages._group.WordProblem`.

    `draw` is uniform over all words of a length.

    >>> from fwplab.languages import load_language
    >>> three = load_language("symmetric_3")
    >>> three.elements[1], three.elements[2], three.elements[4]
    ((0, 2, 1), (1, 0, 2), (2, 0, 1))
    >>> " ".join(three.labels("1212"))
    '1 3 5 4'
    >>> three.contains("11"), three.contains("12"), three.count(3)
    (True, False, 36)
    >>> load_language("symmetric_5:generators=swaps").count(2)
    11
    """

    numbers = (3, 4, 5)

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 2 <= number <= 5:
            raise UserError(f"symmetric_n has members for n from 2 to 5, not {number}")
        return word_problem(permutations(range(number)), **options)
