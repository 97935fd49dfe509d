"""Sums, differences and products modulo n, with brackets."""

import re
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwplab.errors import UserError
from fwplab.languages._counting import balanced_walks
from fwplab.languages.language import END, Language

OPERATORS = "+-*"


class Open(NamedTuple):
    """The state: the open brackets, and the value that was read last; empty where an operand is missing."""

    brackets: str  # for each open bracket a blank, or its first operand and its operator
    value: str


class BracketArithmeticN(Language):
    """Expressions of the digits below n: a digit, or two expressions with + - or * between them, in brackets.

    The label of a position is the value modulo n of the digit or of the bracket that ends there, and - elsewhere. The
    last label is the value of the whole. A string that begins no word has no labels. Modular Arithmetic of Deletang et
    al. (arXiv 2207.02098) has n = 5 and asks for the last value alone; it also has signs before a bracket. The members
    are those with n from 2 to 7.

    `draw` is uniform over all words of a length.

    >>> from fwplab.languages import load_language
    >>> five = load_language("bracket_arithmetic_5")
    >>> " ".join(five.labels("((2-3)*4)"))
    '- - 2 - 3 4 - 4 1'
    >>> five.contains("(2*3)"), five.contains("2*3"), five.count(5), five.lengths(1, 12)
    (True, False, 75, [1, 5, 9])
    >>> sorted(five.next_symbols("(2")), sorted(five.next_symbols("(2*3")), sorted(five.next_symbols("(2*3)"))
    (['*', '+', '-'], [')'], ['end'])
    """

    numbers = (5,)
    hierarchy = "context-free"
    start = Open("", "")
    longest = 100_001

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        if number is None or not 2 <= number <= 7:
            raise UserError(f"bracket_arithmetic_n has members for n from 2 to 7, not {number}")
        digits = tuple(map(str, range(number)))
        return {"symbols": (*digits, *OPERATORS, "(", ")"), "classes": ("-", *digits)}

    def step(self, state: Open | None, symbol: str) -> Open | None:
        if state is None or symbol not in self.following(state):
            return None
        brackets, value = state
        if symbol == "(":
            return Open(f"{brackets}  ", "")
        if symbol in OPERATORS:
            return Open(f"{brackets[:-2]}{value}{symbol}", "")
        if symbol == ")":
            return Open(brackets[:-2], self._value(brackets[-2], brackets[-1], value))
        return Open(brackets, symbol)

    def _value(self, left: str, operator: str, right: str) -> str:
        one, other = int(left), int(right)
        return str({"+": one + other, "-": one - other, "*": one * other}[operator] % (len(self.classes) - 1))

    def label(self, state: Open | None) -> str | None:
        return None if state is None else state.value or "-"

    def following(self, state: Open | None) -> frozenset[str]:
        if state is None:
            return frozenset()
        if not state.value:
            return frozenset((*self.classes[1:], "("))
        if not state.brackets:
            return frozenset((END,))
        return frozenset(OPERATORS if state.brackets[-1] == " " else ")")

    def word_rule(self, string: str) -> bool:
        return len(self._reduced(string)) == 1 and self._reduced(string).isdigit()

    def label_rule(self, prefix: str) -> str | None:
        """Puts the value in place of each bracket of two digits. Only open brackets and one operand may be left."""
        left = self._reduced(prefix)
        if not re.fullmatch(r"(\((\d[-+*])?)*\d?", left):
            return None
        return left[-1] if left[-1].isdigit() else "-"

    def _reduced(self, string: str) -> str:
        longer = ""
        while string != longer:
            longer = string
            string = re.sub(r"\((\d)([-+*])(\d)\)", lambda match: self._value(*match.groups()), string)
        return string

    def count(self, length: int) -> int:
        """With k operators, and the Catalan number C_k of the ways to set brackets: C_k 3^k n^(k+1) words."""
        operators, rest = divmod(length - 1, 4)
        if rest or length < 1:
            return 0
        ways = comb(2 * operators, operators) // (operators + 1)
        return ways * int(len(OPERATORS) ** operators) * int((len(self.classes) - 1) ** (operators + 1))

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """A walk above zero with one more step down is a binary tree in preorder: up a bracket, down a digit."""
        operators, digits = (length - 1) // 4, len(self.classes) - 1
        up = balanced_walks(np.full(number, 2 * operators), generator)
        values = generator.integers(digits, size=(number, operators + 1))
        between = digits + generator.integers(len(OPERATORS), size=(number, operators))
        rows = (self._tokens(*row) for row in zip(up.tolist(), values.tolist(), between.tolist(), strict=True))
        return np.array(list(rows), dtype=np.int8)

    def _tokens(self, up: list[bool], digits: list[int], operators: list[int]) -> list[int]:
        opening, closing = len(self.symbols) - 2, len(self.symbols) - 1
        tokens: list[int] = []
        waiting: list[bool] = []  # for each open bracket whether its second operand is next
        for step in (*up, False):
            if step:
                tokens.append(opening)
                waiting.append(False)
                continue
            tokens.append(digits.pop())
            while waiting and waiting[-1]:
                waiting.pop()
                tokens.append(closing)
            if waiting:
                waiting[-1] = True
                tokens.append(operators.pop())
        return tokens
