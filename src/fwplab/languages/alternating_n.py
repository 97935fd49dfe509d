"""The word problem of an alternating group."""

from itertools import combinations, permutations
from typing import Any

from fwplab.errors import UserError
from fwplab.languages._group import WordProblem, word_problem


class AlternatingN(WordProblem):
    """Strings of even permutations of n places with the product identity, for n from 3 to 5.

    The label of a position is the product up to there. A_5 is the smallest group that is not solvable: its word problem
    is complete for NC1 (Barrington 1989). For the names of the permutations and the options `generators` and `tokens`
    see `fwplab.languages._group.WordProblem`.

    `draw` is uniform over all words of a length.

    >>> from fwplab.languages import load_language
    >>> five = load_language("alternating_5")
    >>> five.elements[1]
    (0, 1, 3, 4, 2)
    >>> " ".join(five.labels("111"))
    '1 2 0'
    >>> five.contains("12"), five.contains("11"), five.count(2)
    (True, False, 60)
    >>> len(load_language("alternating_5:generators=3-cycles").symbols)
    21
    """

    numbers = (5,)

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 3 <= number <= 5:
            raise UserError(f"alternating_n has members for n from 3 to 5, not {number}")
        even = (p for p in permutations(range(number)) if sum(a > b for a, b in combinations(p, 2)) % 2 == 0)
        return word_problem(even, **options)
