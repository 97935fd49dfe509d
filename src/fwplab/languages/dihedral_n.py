"""The word problem of a dihedral group."""

from typing import Any

from fwplab.errors import UserError
from fwplab.languages._group import WordProblem, word_problem


class DihedralN(WordProblem):
    """Strings of symmetries of a regular n-gon with the product identity, for n from 3 on.

    The label of a position is the product up to there. The group has 2n elements and is solvable. For the names of the
    elements and the option `tokens` see `fwplab.languages._group.WordProblem`.

    `draw` is uniform over all words of a length.

    >>> from fwplab.languages import load_language
    >>> square = load_language("dihedral_4")
    >>> square.elements[3]  # a rotation by a quarter
    (1, 2, 3, 0)
    >>> " ".join(square.labels("3333"))
    '3 5 6 0'
    >>> square.contains("3333"), square.contains("33"), square.count(3)
    (True, False, 64)
    """

    numbers = (4,)

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 3 <= number <= 60:
            raise UserError(f"dihedral_n has members for n from 3 to 60, not {number}")
        turns = [tuple((place + shift) % number for place in range(number)) for shift in range(number)]
        return word_problem([*turns, *(turn[::-1] for turn in turns)], **options)
