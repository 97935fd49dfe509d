"""Converts regular expressions to automata, by the positions of an expression (Glushkov 1961) and sets of positions."""

from collections.abc import Sequence
from typing import NamedTuple

from fwplab.errors import UserError, shown

Moves = tuple[tuple[int | None, ...], ...]
"""For every state the next state for each symbol; None if no word begins like this. State 0 is the start."""

Positions = frozenset[int]
OPERATORS = "()|*+?\\"
MOST_CHARACTERS = 2_000
MOST_GROUPS = 100
MOST_STATES = 2_000


class Automaton(NamedTuple):
    """A deterministic automaton: its moves, and the states in which a word may end."""

    moves: Moves
    accepting: frozenset[int]


def automaton(expression: str, symbols: Sequence[str]) -> Automaton:
    """The smallest automaton of a regular expression. States are numbered in the order in which they are reached.

    - `expression`: symbols of the alphabet, alternatives `|`, groups `( )` and the repetitions `*`, `+` and `?`. A
      backslash quotes a symbol that is one of these signs. An empty alternative is the empty string. Python's `re`
      gives the same meaning to all of these.
    - `symbols`: the alphabet, one character each.

    Raises `UserError` for a syntax error, for a symbol outside the alphabet, and for an expression or an automaton that
    is too large.

    >>> automaton("(ab)*", "ab").moves
    ((1, None), (None, 0))
    """
    return minimal(*_subsets(_Parser(expression, symbols), symbols))


def minimal(moves: Moves, accepting: frozenset[int]) -> Automaton:
    """The smallest automaton of the same language (Moore 1956). States that lead to no word become None."""
    dead = len(moves)
    table = [[dead if after is None else after for after in row] for row in moves] + [[dead] * len(moves[0])]
    block = [int(state in accepting) for state in range(dead + 1)]
    blocks = 0
    while blocks < (blocks := len(set(block))):  # every round but the last splits a block
        future = [(block[state], *(block[after] for after in row)) for state, row in enumerate(table)]
        names = {each: number for number, each in enumerate(dict.fromkeys(future))}
        block = [names[each] for each in future]
    member = {block[state]: state for state in range(dead + 1)}  # one representative state per block
    place, waiting = {block[0]: 0}, [block[0]]
    rows: list[tuple[int | None, ...]] = []
    for one in waiting:
        after = [block[target] for target in table[member[one]]]
        for other in after:
            if other not in place and other != block[dead]:
                place[other] = len(place)
                waiting.append(other)
        rows.append(tuple(place.get(other) for other in after))
    return Automaton(tuple(rows), frozenset(place[one] for one in waiting if member[one] in accepting))


class _Part(NamedTuple):
    """A part of an expression: whether it matches the empty string, and where its strings may begin and end."""

    empty: bool
    first: Positions
    last: Positions


class _Parser:
    """Parses an expression. `symbol[n]` is the symbol at position n, `follow[n]` the positions that may come next."""

    def __init__(self, expression: str, symbols: Sequence[str]) -> None:
        self.expression, self.symbols, self.at = expression, tuple(symbols), 0
        self.symbol: list[str] = []
        self.follow: list[set[int]] = []
        if len(expression) > MOST_CHARACTERS or expression.count("(") > MOST_GROUPS:
            raise UserError(
                f"the regular expression {shown(expression)} is too large; choose one of at most {MOST_CHARACTERS:,} "
                f"characters and {MOST_GROUPS} groups"
            )
        self.whole = self.alternatives()
        if self.at < len(expression):
            self.fail()

    def alternatives(self) -> _Part:
        part = self.sequence()
        while self.accept("|"):
            other = self.sequence()
            part = _Part(part.empty or other.empty, part.first | other.first, part.last | other.last)
        return part

    def sequence(self) -> _Part:
        part = _Part(True, frozenset(), frozenset())
        while self.at < len(self.expression) and self.expression[self.at] not in "|)":
            other = self.repeated()
            self.connect(part.last, other.first)
            first = part.first | other.first if part.empty else part.first
            last = part.last | other.last if other.empty else other.last
            part = _Part(part.empty and other.empty, first, last)
        return part

    def repeated(self) -> _Part:
        part = self.single()
        for sign in ("*", "+", "?"):
            if self.accept(sign):
                if sign != "?":
                    self.connect(part.last, part.first)
                return part._replace(empty=part.empty or sign != "+")
        return part

    def single(self) -> _Part:
        if self.accept("("):
            part = self.alternatives()
            if not self.accept(")"):
                self.fail()
            return part
        escaped = self.accept("\\")
        symbol = self.expression[self.at : self.at + 1]
        if symbol not in self.symbols or (symbol in OPERATORS and not escaped):
            self.fail()
        self.at += 1
        self.symbol.append(symbol)
        self.follow.append(set())
        here = frozenset((len(self.symbol) - 1,))
        return _Part(False, here, here)

    def connect(self, before: Positions, after: Positions) -> None:
        for position in before:
            self.follow[position] |= after

    def accept(self, sign: str) -> bool:
        found = self.expression.startswith(sign, self.at)
        self.at += found
        return found

    def fail(self) -> None:
        raise UserError(
            f"the regular expression {shown(self.expression)} cannot be read at character {self.at + 1}; choose from: "
            f"{' '.join(self.symbols)} and ( ) | * + ?"
        )


def _subsets(parser: _Parser, symbols: Sequence[str]) -> Automaton:
    """The subset construction: a state is the set of positions at which a string may have ended. -1 is the start."""
    start, whole = frozenset((-1,)), parser.whole
    place, waiting = {start: 0}, [start]
    rows: list[tuple[int | None, ...]] = []
    for one in waiting:
        reached = frozenset().union(*(whole.first if position < 0 else parser.follow[position] for position in one))
        row: list[int | None] = []
        for symbol in symbols:
            after = frozenset(position for position in reached if parser.symbol[position] == symbol)
            if after and after not in place:
                if len(place) == MOST_STATES:
                    raise UserError(
                        f"the automaton of {shown(parser.expression)} has too many states; choose an expression with "
                        f"at most {MOST_STATES:,}"
                    )
                place[after] = len(place)
                waiting.append(after)
            row.append(place.get(after))
        rows.append(tuple(row))
    ends = whole.last | (start if whole.empty else frozenset())
    return Automaton(tuple(rows), frozenset(place[one] for one in waiting if one & ends))
