"""Machines with a control of a few states and one counter, and the self-modifying automata that they are."""

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
"""A control state, and whether the chain has states above its bottom."""
UNASKED = "-"
"""The output of a row that no answer is known for."""
GROW = "grow"
Name = Callable[[int], str]
"""What a state of the control is called at some depth."""


@dataclass(frozen=True, eq=False)
class Chain:
    """A control with states 0, 1, ..., the first its start, on a chain of any depth, at first 0.

    `moves` maps a row and a symbol to the next control state and what happens to the depth: keep it, push (one
    deeper), pop (one less), reset (0). The next row's output is the answer. A word is rejected where there is no move.
    Raises `UserError` for a pop or a reset at depth 0.

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
        """Whether some move pushes; if none does this is a finite automaton."""
        return any(effect == "push" for _, effect in self.moves.values())

    def step(self, control: int, depth: int, symbol: str) -> tuple[int, int] | None:
        """Control and depth after one more symbol, None where there is no move."""
        move = self.moves.get(((control, depth > 0), symbol))
        return None if move is None else (move[0], after(depth, move[1]))

    def output(self, place: tuple[int, int]) -> str:
        """The answer at a control and a depth."""
        return self.outputs.get((place[0], place[1] > 0), UNASKED)

    def trajectory(self, word: Iterable[str]) -> list[tuple[int, int] | None]:
        """Control and depth after each symbol, None from the first symbol on for which there is no move."""
        place: tuple[int, int] | None = (0, 0)
        places = []
        for symbol in word:
            place = None if place is None else self.step(*place, symbol)
            places.append(place)
        return places

    def run(self, word: Iterable[str]) -> list[str | None]:
        """The output after each symbol, None from the first symbol on for which there is no move."""
        return [None if place is None else self.output(place) for place in self.trajectory(word)]

    def to_smfa(self, accepting: Iterable[str] = ()) -> SelfModifying:
        """The self-modifying automaton that does the same, state for state.

        Depth 0 and 1 are fixed states, `q2` and `q2+` for the control 2; its register `r2` holds the deepest state.
        Every push, from wherever, makes one depth more, so that the next is always there. Its moves: those that keep
        lead within the new depth, those that pop to the one before it, those that reset to the fixed depth 0; and
        those that push from the one before it into the new, with the same change again. `accepting`: the outputs after
        which a word may end; none for a machine that is to label, not to recognise.
        """
        controls = range(self.controls)
        states = {_bottom(control): self.outputs.get((control, False), UNASKED) for control in controls}
        fixed = self._lay(False, _bottom, keep=_bottom, push=_first)
        if not self.counts:
            return SelfModifying(self.symbols, states, _bottom(0), fixed, accepting=frozenset(accepting))
        deep = [self.outputs.get((control, True), UNASKED) for control in controls]
        return SelfModifying(
            symbols=self.symbols,
            states=states | {_first(control): deep[control] for control in controls},
            start=_bottom(0),
            moves=fixed + self._lay(True, _first, keep=_first, pop=_bottom, reset=_bottom),
            registers={_register(control): _first(control) for control in controls},
            changes={
                GROW: Change(
                    {_register(control): deep[control] for control in controls},
                    self._lay(True, _fresh, keep=_fresh, pop=_register, reset=_bottom)
                    + self._lay(True, _register, push=_fresh),
                )
            },
            accepting=frozenset(accepting),
        )

    @classmethod
    def random(cls, controls: int, symbols: Sequence[str], generator: np.random.Generator) -> "Chain":
        """A machine on a chain: moves, effects and outputs (x, y, z) are uniform, a sixth of the moves is missing."""
        rows = list(product(range(controls), (False, True)))
        moves: dict[tuple[Row, str], tuple[int, Effect]] = {}
        for row, symbol in product(rows, symbols):
            effects = EFFECTS if row[1] else EFFECTS[:2]
            if generator.integers(6):
                moves[row, symbol] = (int(generator.integers(controls)), effects[generator.integers(len(effects))])
        return cls(tuple(symbols), {row: "xyz"[generator.integers(3)] for row in rows}, moves)

    def _lay(self, above: bool, here: Name, **leads: Name) -> tuple[Move, ...]:
        """The moves of one depth whose effect is in `leads`, which names the states after it; `here` those before."""
        return tuple(
            Move(here(row[0]), symbol, leads[effect](control), GROW if effect == "push" else None)
            for (row, symbol), (control, effect) in self.moves.items()
            if row[1] == above and effect in leads
        )


def after(depth: int, effect: Effect) -> int:
    """The depth after an effect."""
    return {"keep": depth, "push": depth + 1, "pop": depth - 1, "reset": 0}[effect]


def _bottom(control: int) -> str:
    return f"q{control}"


def _first(control: int) -> str:
    return f"q{control}+"


def _register(control: int) -> str:
    return f"r{control}"


def _fresh(control: int) -> str:
    return _register(control) + FRESH
