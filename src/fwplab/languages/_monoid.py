"""The syntactic monoid of a regular language, and the classes of languages that it decides.

The syntactic monoid is that of the maps on the states of the smallest complete automaton that words make. A map is the
tuple of the states to which it leads. The product of two maps makes the first one first.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from fwplab.errors import UserError
from fwplab.languages._expression import minimal
from fwplab.languages._regular import Regular

MOST_ELEMENTS = 20_000
"""The largest monoid that is computed."""

Map = tuple[int, ...]


class Answer(NamedTuple):
    """Whether a language is in a class. `meaning`: how the monoid decides it. `source`: who proved this."""

    name: str
    holds: bool
    meaning: str
    source: str


def classes(monoid: "Monoid") -> list[Answer]:
    """The classes of a regular language with this syntactic monoid."""
    return [
        Answer("finite or cofinite", monoid.definite and monoid.reverse_definite, "nilpotent", "Eilenberg 1976"),
        Answer("definite", monoid.definite, "s e = e for every idempotent e", "Perles, Rabin and Shamir 1963"),
        Answer("reverse definite", monoid.reverse_definite, "e s = e for every idempotent e", "Ginzburg 1966"),
        Answer("piecewise testable", monoid.r_trivial and monoid.l_trivial, "J-trivial", "Simon 1975"),
        Answer("R-trivial", monoid.r_trivial, "x M = y M only if x = y", "Brzozowski and Fich 1980"),
        Answer("L-trivial", monoid.l_trivial, "M x = M y only if x = y", "Brzozowski and Fich 1980"),
        Answer("two-variable logic", monoid.in_da, "regular elements are idempotent", "Therien and Wilke 1998"),
        Answer("star-free", monoid.aperiodic, "no group but the trivial one", "Schuetzenberger 1965"),
        Answer("commutative", monoid.commutative, "x y = y x", "-"),
        Answer("group language", monoid.is_group, "the monoid is a group", "-"),
        Answer(
            "solvable",
            monoid.solvable,
            "all groups are solvable; if not, complete for NC1",
            "Barrington and Therien 1988",
        ),
    ]


class Monoid:
    """The syntactic monoid of a regular language. Raises `UserError` for more than MOST_ELEMENTS elements.

    - `states`: the number of states of the smallest automaton, without one that leads to no word.
    - `elements`: the maps, the identity first.
    - `letters`: the map of each symbol.
    """

    def __init__(self, language: Regular) -> None:
        moves = minimal(language.moves, language.accepting).moves
        self.states = dead = len(moves)
        table = [[dead if to is None else to for to in row] for row in moves]
        if any(dead in row for row in table):
            table.append([dead] * len(language.symbols))
        self.letters = [tuple(row[symbol] for row in table) for symbol in range(len(language.symbols))]
        self.identity: Map = tuple(range(len(table)))
        found = dict.fromkeys([self.identity])
        waiting = [self.identity]
        for element in waiting:
            for letter in self.letters:
                longer = _times(element, letter)
                if longer not in found:
                    found[longer] = None
                    waiting.append(longer)
            if len(found) > MOST_ELEMENTS:
                raise UserError(
                    f"the syntactic monoid of {language.name} has more than {MOST_ELEMENTS:,} elements; choose a "
                    f"smaller language"
                )
        self.elements = waiting

    @cached_property
    def idempotents(self) -> list[Map]:
        """The maps e of nonempty words with e e = e."""
        of_words = {_times(element, letter) for element in self.elements for letter in self.letters}
        return [element for element in self.elements if element in of_words and _times(element, element) == element]

    @cached_property
    def definite(self) -> bool:
        """Whether a suffix of bounded length decides."""
        return all(_times(letter, each) == each for each in self.idempotents for letter in self.letters)

    @cached_property
    def reverse_definite(self) -> bool:
        """Whether a prefix of bounded length decides."""
        return all(_times(each, letter) == each for each in self.idempotents for letter in self.letters)

    @cached_property
    def r_classes(self) -> list[list[Map]]:
        """The sets of elements x with the same x M."""
        return _components({x: [_times(x, letter) for letter in self.letters] for x in self.elements})

    @cached_property
    def r_trivial(self) -> bool:
        return all(len(one) == 1 for one in self.r_classes)

    @cached_property
    def l_trivial(self) -> bool:
        left = {x: [_times(letter, x) for letter in self.letters] for x in self.elements}
        return all(len(one) == 1 for one in _components(left))

    @cached_property
    def in_da(self) -> bool:
        """Whether all regular elements are idempotent. An element is regular if x M = e M for an idempotent e."""
        return all(
            all(_idempotent(element) for element in one) or not any(map(_idempotent, one)) for one in self.r_classes
        )

    @cached_property
    def aperiodic(self) -> bool:
        """Whether x^m = x^(m+1) for some m, for every element x."""
        return all(len(_cycle(element)) == 1 for element in self.elements)

    @cached_property
    def commutative(self) -> bool:
        return all(_times(one, other) == _times(other, one) for one in self.letters for other in self.letters)

    @cached_property
    def is_group(self) -> bool:
        return all(len(set(letter)) == len(letter) for letter in self.letters)

    @cached_property
    def solvable(self) -> bool:
        """Whether the group around every idempotent is solvable: its commutators of commutators of ... end in one."""
        groups: dict[Map, set[Map]] = {}
        for element in self.elements:
            cycle = _cycle(element)
            if element in cycle:  # the element is in a group, with the idempotent among its powers
                groups.setdefault(next(filter(_idempotent, cycle)), set()).add(element)
        return all(map(_solvable, groups.values()))


def _times(first: Map, second: Map) -> Map:
    return tuple([second[state] for state in first])


def _idempotent(element: Map) -> bool:
    return _times(element, element) == element


def _cycle(element: Map) -> list[Map]:
    """The powers of an element that come again and again."""
    powers, place, power = [element], {element: 0}, element
    while (power := _times(power, element)) not in place:
        place[power] = len(powers)
        powers.append(power)
    return powers[place[power] :]


def _solvable(group: set[Map]) -> bool:
    """Whether the commutator subgroups, one in the other, end in the trivial group."""
    while len(group) > 1:
        generators: set[Map] = set()
        spanned: set[Map] = set()
        for element in group:
            if element not in spanned:
                generators.add(element)
                spanned = _closed(generators)
        commutators = {
            _times(_times(_inverse(x), _inverse(y)), _times(x, y)) for x in generators for y in generators if x != y
        }
        derived = _normal(commutators, generators) if commutators else set[Map]()
        if len(derived) == len(group):
            return False
        group = derived
    return True


def _normal(seeds: set[Map], generators: set[Map]) -> set[Map]:
    """The normal subgroup that the seeds generate in the group of the generators."""
    found = _closed(seeds)
    while more := {_times(_times(_inverse(x), y), x) for x in generators for y in seeds} - found:
        seeds = seeds | more
        found = _closed(seeds)
    return found


def _inverse(element: Map) -> Map:
    """The inverse in its group: one of its powers."""
    cycle = _cycle(element)
    return next(power for power in cycle if _idempotent(_times(power, element)))


def _closed(generators: set[Map]) -> set[Map]:
    """The subgroup that these elements generate."""
    found, waiting = set(generators), list(generators)
    for one in waiting:
        for other in generators:
            product = _times(one, other)
            if product not in found:
                found.add(product)
                waiting.append(product)
    return found


def _components(edges: Mapping[Map, Sequence[Map]]) -> list[list[Map]]:
    """The strongly connected components of a graph (Kosaraju 1978, Sharir 1981)."""
    back: dict[Map, list[Map]] = {node: [] for node in edges}
    for node, targets in edges.items():
        for target in targets:
            back[target].append(node)
    order: list[Map] = []
    seen: set[Map] = set()
    for root, first in edges.items():
        stack = [(root, iter(first))] if root not in seen else []
        seen.add(root)
        while stack:
            node, left = stack[-1]
            after = next((target for target in left if target not in seen), None)
            if after is None:
                order.append(stack.pop()[0])
            else:
                seen.add(after)
                stack.append((after, iter(edges[after])))
    found, placed = list[list[Map]](), set[Map]()
    for root in reversed(order):
        if root not in placed:
            found.append(_reached(root, back, placed))
    return found


def _reached(root: Map, edges: dict[Map, list[Map]], placed: set[Map]) -> list[Map]:
    """The nodes that are reached from the root and have no place yet."""
    component = [root]
    placed.add(root)
    for node in component:
        new: Iterable[Map] = (target for target in edges[node] if target not in placed)
        for target in dict.fromkeys(new):
            placed.add(target)
            component.append(target)
    return component
