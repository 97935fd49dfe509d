"""The base class of the word problems of finite groups."""

from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar

from fwplab.errors import UserError
from fwplab.languages._expression import Moves
from fwplab.languages._regular import Regular

Permutation = tuple[int, ...]
"""p[i] is the place to which the place i goes."""

PADDING = "."
NAMES = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + "".join(
    character for character in map(chr, range(0xC0, 0x180)) if character.isalpha()
)
"""One character for each element of a group; the identity is 0."""


class WordProblem(Regular):
    """Strings of elements of a finite group. The label of a position is the product of all elements up to there.

    A word is a string whose product is the identity. Elements are multiplied from left to right: in a group of
    permutations the first symbol moves first. `elements` are the permutations in lexicographic order, the identity
    first, and the symbol and the label of an element is its character in `NAMES`.

    Options of the name:

    - `generators`: which elements are symbols. `all`; `swaps`, those that move at most two places; `3-cycles`, those
      that move at most three. The identity is among them.
    - `tokens`: how many symbols an element takes: the element, then as many times `.` as are missing. The label there
      is the product so far. This gives a model more steps for each element.
    """

    hierarchy = "regular (not star-free)"
    options: ClassVar = {"generators": ("all", "swaps", "3-cycles"), "tokens": tuple("1234")}
    elements: ClassVar[tuple[Permutation, ...]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "elements" in vars(cls) and "moves" not in vars(cls):
            for name, value in word_problem(cls.elements).items():
                setattr(cls, name, value)

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        return word_problem(cls.elements, **options)

    def label(self, state: int | None) -> str | None:
        return None if state is None else self.classes[state % len(self.classes)]

    def label_rule(self, prefix: str) -> str | None:
        if not self._may_begin(prefix):
            return None
        product = _product(self.elements[NAMES.index(symbol)] for symbol in prefix if symbol != PADDING)
        return NAMES[self.elements.index(product)] if product else "0"

    def word_rule(self, string: str) -> bool:
        tokens = len(self.moves) // len(self.classes)
        return self._may_begin(string) and len(string) % tokens == 0 and self.label_rule(string) in ("0", None)

    def _may_begin(self, prefix: str) -> bool:
        """Whether elements stand where elements must, and padding elsewhere."""
        tokens = len(self.moves) // len(self.classes)
        return all((symbol == PADDING) == (place % tokens > 0) for place, symbol in enumerate(prefix))


def word_problem(elements: Iterable[Permutation], generators: str = "all", tokens: str = "1") -> dict[str, Any]:
    """The attributes of the word problem of a group with these elements."""
    group = sorted(elements)
    if len(group) > len(NAMES):
        raise UserError(f"a group of {len(group)} elements is too large; choose one of at most {len(NAMES)}")
    most = {"all": len(group[0]), "swaps": 2, "3-cycles": 3}[generators]
    read = [place for place, each in enumerate(group) if sum(to != at for at, to in enumerate(each)) <= most]
    if len(_generated([group[place] for place in read])) < len(group):
        raise UserError(f"the {generators} do not generate the group of {len(group)} elements; choose generators=all")
    return {
        "elements": tuple(group),
        "symbols": tuple(NAMES[place] for place in read) + ((PADDING,) if int(tokens) > 1 else ()),
        "classes": tuple(NAMES[: len(group)]),
        "moves": _moves(tuple(group), tuple(read), int(tokens)),
        "accepting": frozenset((0,)),
    }


@cache
def _moves(group: tuple[Permutation, ...], read: tuple[int, ...], tokens: int) -> Moves:
    """State `group size * place + element`: the product so far, and how many symbols of the last element are read."""
    index, size = {each: place for place, each in enumerate(group)}, len(group)
    rows: list[tuple[int | None, ...]] = []
    for place in range(tokens):
        for state, element in enumerate(group):
            if place == 0:
                next_place = size * (1 % tokens)
                after = [next_place + index[_then(element, group[symbol])] for symbol in read]
                rows.append((*after, *((None,) if tokens > 1 else ())))
            else:
                rows.append((*(None for _ in read), size * ((place + 1) % tokens) + state))
    return tuple(rows)


def _then(first: Permutation, second: Permutation) -> Permutation:
    return tuple(second[place] for place in first)


def _product(permutations: Iterable[Permutation]) -> Permutation:
    """The product by following each place on its way; () for no permutations."""
    factors = list(permutations)
    places = []
    for start in range(len(factors[0]) if factors else 0):
        place = start
        for factor in factors:
            place = factor[place]
        places.append(place)
    return tuple(places)


def _generated(generators: list[Permutation]) -> set[Permutation]:
    found = {tuple(range(len(generators[0])))}
    while more := {_then(one, other) for one in found for other in generators} - found:
        found |= more
    return found
