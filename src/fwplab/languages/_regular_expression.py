"""Reads the regular expressions of users. The library automata-lib turns them into automata with choices."""

import re
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

from fwplab.errors import UserError, shown
from fwplab.languages._definition import MOST_STATES, MOST_SYMBOLS, Machine, checked_alphabet, smallest_automaton

if TYPE_CHECKING:
    from automata.fa.nfa import NFA

MOST_CHARACTERS = 500
"""The longest expression."""
MOST_POSITIONS = 2_000
"""The most states of the automaton with choices: about two for each symbol, after repetitions are written out."""

RESERVED = frozenset("*|()?&+.^{}[]\\")
QUANTIFIER = re.compile(r"\{(\d{0,6})(?:(,)(\d{0,6}))?\}")
UNIT = re.compile(r"\\[^a-zA-Z0-9\s]|\[\^?[^\]\[\\]+\]|[^\s\\\[\]{}]|" + QUANTIFIER.pattern)
"""One sign of an expression: a quoted character, a class, a character, or a number of repetitions."""


def machine(text: str) -> Machine:
    """The smallest automaton of a regular expression. Its alphabet is the symbols that the expression names.

    Symbols and groups `( )`, alternatives `|`, the repetitions `*`, `+`, `?`, `{n}`, `{n,}` and `{n,m}`, classes
    `[abc]`, `[a-z]` and `[^a]`, any symbol `.`, and the empty string `()`; a backslash quotes one of these signs.
    `&` is the intersection of two expressions, `^` all their interleavings.

    Raises `UserError` if the expression cannot be read, or if it or its automaton is too large.
    """
    units = _units(text)
    symbols = _alphabet(units)
    if _positions(units) > MOST_POSITIONS:
        raise UserError(
            f"the regular expression {shown(text)} is too large once its repetitions are written out; choose one of "
            f"at most {MOST_POSITIONS:,} positions"
        )
    import automata.base.exceptions as wrong
    from automata.fa.nfa import NFA

    try:
        found = NFA.from_regex(text, input_symbols=set(symbols))
    except (wrong.RegexException, wrong.AutomatonException) as error:
        raise UserError(f"the regular expression {shown(text)} cannot be read: {error}; {_SYNTAX}") from error
    return _subsets(found, text, symbols)


_SYNTAX = "choose from: symbols and ( ) | * + ? . [ ] { } & ^, a backslash before a sign that is a symbol"


def _units(text: str) -> list[str]:
    """The signs of an expression. Raises `UserError` for one that does not mean the same everywhere."""
    if len(text) > MOST_CHARACTERS:
        raise UserError(
            f"a regular expression of {len(text):,} characters is too long; choose at most {MOST_CHARACTERS:,}"
        )
    units, at = [], 0
    while at < len(text):
        match = UNIT.match(text, at)
        if match is None or (match[0][0] == "{" and _repetitions(match[0])[1] == 0):
            raise UserError(f"the regular expression {shown(text)} cannot be read at character {at + 1}; {_SYNTAX}")
        units.append(match[0])
        at = match.end()
    return units


def _repetitions(unit: str) -> tuple[int, int | None]:
    """The lowest and the highest number of a `{n,m}`; None: any number."""
    match = QUANTIFIER.fullmatch(unit)
    assert match is not None
    low = int(match[1] or 0)
    return low, (int(match[3]) if match[3] else None) if match[2] else low


def _alphabet(units: list[str]) -> str:
    """The symbols that occur in an expression, sorted. Raises `UserError` if there are none."""
    found: set[str] = set()
    for unit in units:
        if unit[0] == "\\":
            found.add(unit[1])
        elif unit[0] == "[":
            inside = unit[1:-1].removeprefix("^")
            for first, last in re.findall(r"(.)-(.)", inside):
                if ord(last) - ord(first) >= MOST_SYMBOLS:
                    raise UserError(f"the class {shown(unit)} is too large; choose at most {MOST_SYMBOLS} symbols")
                found |= set(map(chr, range(ord(first), ord(last) + 1)))
            found |= set(re.sub(r"(.)-(.)", "", inside))
        elif unit not in RESERVED and unit[0] != "{":
            found.add(unit)
    if not found:
        raise UserError("a regular expression without a symbol has no alphabet; choose for example regex:(ab|ba)*")
    return checked_alphabet("".join(sorted(found)))


def _positions(units: list[str]) -> int:
    """An upper bound of the states that the library makes of an expression.

    Alternatives add up, `{n}` multiplies what stands before it, and `&` and `^` multiply all parts of their group.
    """
    groups = [_Group()]  # the open ones
    for unit in (*units, ")"):
        group = groups[-1]
        if unit == "(":
            groups.append(_Group())
        elif unit == ")":
            size = group.size()
            groups = groups[:-1] or [_Group()]
            groups[-1].parts[-1].append(size)
        elif unit in ("|", "&", "^"):
            group.multiplies |= unit != "|"
            group.parts.append([1])
        elif unit in ("*", "+", "?"):
            group.parts[-1][-1] += 1
        elif unit[0] == "{":
            low, high = _repetitions(unit)
            group.parts[-1][-1] = group.parts[-1][-1] * max(low, high or 1) + 1
        else:
            group.parts[-1].append(2)
    return max(group.size() for group in groups)


class _Group:
    """The sizes of the factors of each part of a group in parentheses."""

    def __init__(self) -> None:
        self.parts, self.multiplies = [[1]], False

    def size(self) -> int:
        sizes = [sum(part) + 1 for part in self.parts]
        return prod(sizes) if self.multiplies else sum(sizes)


def _subsets(found: "NFA", text: str, symbols: str) -> Machine:
    """The subset construction. The library's own has no bound on the number of states.

    A set of states is a whole number with one bit for each.
    """
    names = {state: place for place, state in enumerate(found.states)}
    closures = {state: _closure(found.transitions, state, names) for state in names}

    columns = {symbol: column for column, symbol in enumerate(symbols)}
    outgoing: list[list[tuple[int, int]]] = []  # for each state the columns of its symbols, with the states that follow
    for state in names:
        steps = dict.fromkeys(columns.values(), 0)
        for symbol, targets in found.transitions.get(state, {}).items():
            for target in targets if symbol else ():
                steps[columns[symbol]] |= closures[target]
        outgoing.append([(column, bits) for column, bits in steps.items() if bits])
    start = closures[found.initial_state]
    ends = sum(1 << names[state] for state in found.final_states)
    place, waiting, rows = {start: 0}, [start], []
    for one in waiting:
        reached = [0] * len(symbols)
        for state in _members(one):
            for column, bits in outgoing[state]:
                reached[column] |= bits
        row: list[int | None] = []
        for after in reached:
            if after and after not in place:
                place[after] = len(place)
                waiting.append(after)
            row.append(place[after] if after else None)
        rows.append(tuple(row))
        if len(waiting) > MOST_STATES:
            raise UserError(
                f"the automaton of the regular expression {shown(text)} has more than {MOST_STATES:,} states; choose a "
                f"smaller expression"
            )
    return smallest_automaton(symbols, tuple(rows), frozenset(place[one] for one in waiting if one & ends))


def _closure(transitions: Mapping[object, Mapping[str, object]], state: object, names: Mapping[object, int]) -> int:
    """The states that are reached without a symbol, as bits."""
    seen, waiting = 1 << names[state], [state]
    while waiting:
        for after in transitions.get(waiting.pop(), {}).get("", ()):  # type: ignore[attr-defined]
            if not seen >> names[after] & 1:
                seen |= 1 << names[after]
                waiting.append(after)
    return seen


def _members(bits: int) -> list[int]:
    """The places of the bits that are set."""
    found = []
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return found
