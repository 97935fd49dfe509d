"""Chain machines: a finite control with one counter, and their conversion to self-modifying automata."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np

from fwplab.errors import UserError
from fwplab.smfa.machine import FRESH, Change, Move, SelfModifying

Effect = Literal["keep", "push", "pop", "reset"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
Row = tuple[int, bool]
"""A control state, and whether the depth is above 0. The machine's table has one row for each."""
NO_OUTPUT = "-"
"""The output of a row whose output is not known."""
GROW = "grow"
Name = Callable[[int], str]
"""Gives the automaton's state for a control state, at some fixed depth."""


@dataclass(frozen=True, eq=False)
class Chain:
    """A finite control with states 0, 1, ... and a counter, called the depth. It starts in state 0 at depth 0.

    - `symbols`: the alphabet.
    - `outputs`: the output of each row; it is the label after a symbol that leads to this row.
    - `moves`: for a row and a symbol, the next control state and the effect on the depth: "keep", "push" (add 1), "pop"
      (subtract 1) or "reset" (set to 0).

    A word without a move for one of its symbols is rejected. Raises `UserError` for a pop or a reset at depth 0.

    >>> brackets = Chain(
    ...     ("(", ")"),
    ...     {(0, False): "0", (0, True): "1"},
    ...     {((0, False), "("): (0, "push"), ((0, True), "("): (0, "push"), ((0, True), ")"): (0, "pop")},
    ... )
    >>> brackets.run("(())"), brackets.run("())(")
    (['1', '1', '1', '0'], ['1', '0', None, None])
    >>> brackets.to_smfa().run("(())(")
    ['1', '1', '1', '0', '1']
    """

    symbols: tuple[str, ...]
    outputs: Mapping[Row, str]
    moves: Mapping[tuple[Row, str], tuple[int, Effect]]

    def __post_init__(self) -> None:
        for ((control, above), symbol), (_, effect) in self.moves.items():
            if effect not in EFFECTS or (effect in ("pop", "reset") and not above):
                choices = ", ".join(EFFECTS if above else EFFECTS[:2])
                raise UserError(f"control {control} cannot {effect} at {symbol!r}; choose from: {choices}")

    @property
    def controls(self) -> int:
        """The number of control states."""
        named = (state for (row, _), (to, _) in self.moves.items() for state in (row[0], to))
        return 1 + max((0, *(control for control, _ in self.outputs), *named))

    @property
    def counts(self) -> bool:
        """Whether any move pushes. If none does, the machine is a finite automaton."""
        return any(effect == "push" for _, effect in self.moves.values())

    def step(self, control: int, depth: int, symbol: str) -> tuple[int, int] | None:
        """The control state and the depth after one more symbol; None if there is no move."""
        move = self.moves.get(((control, depth > 0), symbol))
        return None if move is None else (move[0], after(depth, move[1]))

    def output(self, place: tuple[int, int]) -> str:
        """The output at a control state and a depth."""
        return self.outputs.get((place[0], place[1] > 0), NO_OUTPUT)

    def trajectory(self, word: Iterable[str]) -> list[tuple[int, int] | None]:
        """Control state and depth after each symbol; None from the first symbol on for which there is no move."""
        place: tuple[int, int] | None = (0, 0)
        places = []
        for symbol in word:
            place = None if place is None else self.step(*place, symbol)
            places.append(place)
        return places

    def run(self, word: Iterable[str]) -> list[str | None]:
        """The output after each symbol; None from the first symbol on for which there is no move."""
        return [None if place is None else self.output(place) for place in self.trajectory(word)]

    def to_smfa(self, accepting: Iterable[str] = ()) -> SelfModifying:
        """The equivalent self-modifying automaton, with one state for each control state and depth.

        For control state 2, say, the fixed states `q2` and `q2+` are the depths 0 and 1, and the register `r2` holds
        the state of the deepest level built so far. Every push adds one level below it, so that the next level always
        exists. The change adds the moves of the new level: "keep" stays on the new level, "pop" leads to the level
        above it, and "reset" leads to depth 0. It also adds the pushes from the level above into the new level, and
        these carry the same change.

        accepting: the outputs after which a word may end. Leave it empty for a machine that only labels.
        """
        controls = range(self.controls)
        states = {_depth_0(control): self.outputs.get((control, False), NO_OUTPUT) for control in controls}
        fixed = self._moves_at(False, _depth_0, keep=_depth_0, push=_depth_1)
        if not self.counts:
            return SelfModifying(self.symbols, states, _depth_0(0), fixed, accepting=frozenset(accepting))
        deep = [self.outputs.get((control, True), NO_OUTPUT) for control in controls]
        return SelfModifying(
            symbols=self.symbols,
            states=states | {_depth_1(control): deep[control] for control in controls},
            start=_depth_0(0),
            moves=fixed + self._moves_at(True, _depth_1, keep=_depth_1, pop=_depth_0, reset=_depth_0),
            registers={_register(control): _depth_1(control) for control in controls},
            changes={
                GROW: Change(
                    {_register(control): deep[control] for control in controls},
                    self._moves_at(True, _fresh, keep=_fresh, pop=_register, reset=_depth_0)
                    + self._moves_at(True, _register, push=_fresh),
                )
            },
            accepting=frozenset(accepting),
        )

    @classmethod
    def random(cls, controls: int, symbols: Sequence[str], generator: np.random.Generator) -> "Chain":
        """A random machine with outputs x, y and z. Everything is uniform, and one sixth of the moves is missing.

        controls: the number of control states.
        symbols: the alphabet.
        """
        rows = list(product(range(controls), (False, True)))
        moves: dict[tuple[Row, str], tuple[int, Effect]] = {}
        for row, symbol in product(rows, symbols):
            effects = EFFECTS if row[1] else EFFECTS[:2]
            if generator.integers(6):
                moves[row, symbol] = (int(generator.integers(controls)), effects[generator.integers(len(effects))])
        return cls(tuple(symbols), {row: "xyz"[generator.integers(3)] for row in rows}, moves)

    def _moves_at(self, above: bool, here: Name, **leads: Name) -> tuple[Move, ...]:
        """The moves of one level. `here` names the states before a move, and `leads` those after it, by effect."""
        return tuple(
            Move(here(row[0]), symbol, leads[effect](control), GROW if effect == "push" else None)
            for (row, symbol), (control, effect) in self.moves.items()
            if row[1] == above and effect in leads
        )


def after(depth: int, effect: Effect) -> int:
    """The depth after an effect."""
    return {"keep": depth, "push": depth + 1, "pop": depth - 1, "reset": 0}[effect]


def _depth_0(control: int) -> str:
    return f"q{control}"


def _depth_1(control: int) -> str:
    return f"q{control}+"


def _register(control: int) -> str:
    return f"r{control}"


def _fresh(control: int) -> str:
    return _register(control) + FRESH
