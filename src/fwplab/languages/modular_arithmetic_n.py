"""Sums, differences and products modulo n, without brackets."""

from math import prod
from typing import Any, NamedTuple

from fwplab.errors import UserError
from fwplab.languages._expression import Moves
from fwplab.languages._regular import Regular


class Sum(NamedTuple):
    """The state: an expression is a sum of the finished terms and of the last one, which a product may continue."""

    finished: int
    last: int
    operator: str  # the operator that was read last; empty after a digit


class ModularArithmeticN(Regular):
    """Expressions of the digits below n with + - * whose value is 0 modulo n. Products are computed first.

    The label of a position is the value of the expression up to the last digit. Modular Arithmetic (Simple) of Deletang
    et al. (arXiv 2207.02098) has n = 5 and asks for the last value alone. The members are those with n from 2 to 7.

    >>> from fwplab.languages import load_language
    >>> five = load_language("modular_arithmetic_5")
    >>> " ".join(five.labels("2+3*4-1"))
    '2 2 0 0 4 4 3'
    >>> five.contains("2+3"), five.contains("2*3"), five.contains("2+"), five.count(3)
    (True, False, False, 19)
    >>> sorted(five.next_symbols("2+3")), sorted(five.next_symbols("2+"))
    (['*', '+', '-', 'end'], ['0', '1', '2', '3', '4'])
    """

    numbers = (5,)
    hierarchy = "regular (not star-free)"
    values: tuple[str, ...]

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 2 <= number <= 7:
            raise UserError(f"modular_arithmetic_n has members for n from 2 to 7, not {number}")
        digits = tuple(map(str, range(number)))
        symbols = (*digits, "+", "-", "*")
        states, moves = _machine(number, symbols)
        values = tuple((state.finished + state.last * (state.operator in ("", "*"))) % number for state in states)
        accepting = frozenset(place for place, state in enumerate(states) if not state.operator and not values[place])
        return {
            "symbols": symbols,
            "classes": digits,
            "moves": moves,
            "accepting": accepting,
            "values": tuple(map(str, values)),
        }

    def label(self, state: int | None) -> str | None:
        return None if state is None else self.values[state]

    def word_rule(self, string: str) -> bool:
        return string[-1:].isdigit() and self.label_rule(string) == "0"

    def label_rule(self, prefix: str) -> str | None:
        complete = prefix[:-1] if len(prefix) > 1 and prefix[-1] in "+-*" else prefix
        alternates = all(symbol.isdigit() == (place % 2 == 0) for place, symbol in enumerate(complete))
        if not alternates or len(complete) % 2 == 0:
            return None
        terms = complete.replace("-", "+-").split("+")
        products = (prod(map(int, term.removeprefix("-").split("*"))) * (-1) ** term.count("-") for term in terms)
        return str(sum(products) % len(self.classes))


def _machine(number: int, symbols: tuple[str, ...]) -> tuple[list[Sum], Moves]:
    """The states, the start first, and the moves between them."""
    states = [Sum(0, 0, "+")]
    place, rows = {states[0]: 0}, []
    for state in states:
        row: list[int | None] = []
        for symbol in symbols:
            after = _after(state, symbol, number)
            if after is not None and after not in place:
                place[after] = len(states)
                states.append(after)
            row.append(None if after is None else place[after])
        rows.append(tuple(row))
    return states, tuple(rows)


def _after(state: Sum, symbol: str, number: int) -> Sum | None:
    if symbol.isdigit() != bool(state.operator):
        return None
    finished, last, operator = state
    if not symbol.isdigit():
        return Sum(finished, last, "*") if symbol == "*" else Sum((finished + last) % number, 0, symbol)
    digit = int(symbol)
    return Sum(finished, {"+": digit, "-": -digit, "*": last * digit}[operator] % number, "")
