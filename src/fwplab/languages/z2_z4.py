"""The word problem of the product of two cyclic groups."""

from fwplab.languages._group import WordProblem


class Z2Z4(WordProblem):
    """Strings of elements of Z_2 x Z_4 with the sum 0. The label of a position is the sum up to there.

    The elements are permutations of six places: the first two are swapped, the other four turned. The characters 0 to 3
    are the turns without the swap, 4 to 7 those with it. The option `tokens` is that of
    `fwplab.languages._group.WordProblem`.

    `draw` is uniform over all words of a length.

    >>> " ".join(Z2Z4().labels("4116"))
    '4 5 6 0'
    >>> Z2Z4().contains("44"), Z2Z4().contains("43"), Z2Z4().count(3)
    (True, False, 64)
    """

    elements = tuple(
        (*swap, *(2 + (place + turn) % 4 for place in range(4))) for swap in ((0, 1), (1, 0)) for turn in range(4)
    )
