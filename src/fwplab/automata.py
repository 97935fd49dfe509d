"""Moore machines: finite automata with an output in every state."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fwplab.errors import UserError


@dataclass(frozen=True)
class Moore:
    """A deterministic machine with the states 0 to n - 1. It starts in state 0.

    - `symbols`: the alphabet.
    - `outputs`: the output of each state; None for a state without output.
    - `moves`: the next state, as `moves[state][index of the symbol]`.

    Raises `UserError` if the sizes do not fit together.

    >>> odd = Moore(("0", "1"), ("even", "odd"), ((0, 1), (1, 0)))
    >>> odd.run("0110")
    ['even', 'odd', 'even', 'even']
    """

    symbols: tuple[str, ...]
    outputs: tuple[str | None, ...]
    moves: tuple[tuple[int, ...], ...]

    start: ClassVar[int] = 0

    def __post_init__(self) -> None:
        states = len(self.outputs)
        fits = all(len(row) == len(self.symbols) and all(0 <= to < states for to in row) for row in self.moves)
        if states == 0 or len(self.moves) != states or not fits:
            raise UserError(
                f"a machine of {states} outputs and {len(self.symbols)} symbols needs as many rows as outputs, "
                f"each with a state from 0 to {states - 1} for every symbol"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The distinct outputs, sorted."""
        return tuple(sorted({output for output in self.outputs if output is not None}))

    def step(self, state: int, symbol: str) -> int:
        """The state after one more symbol. Raises `UserError` for a symbol outside the alphabet."""
        if symbol not in self.symbols:
            raise UserError(f"symbol {symbol!r} is outside the alphabet, choose from: {' '.join(self.symbols)}")
        return self.moves[state][self.symbols.index(symbol)]

    def label(self, state: int) -> str | None:
        """The output of a state."""
        return self.outputs[state]

    def run(self, word: Iterable[str]) -> list[str | None]:
        """The output after each symbol of `word`."""
        state, outputs = self.start, []
        for symbol in word:
            state = self.step(state, symbol)
            outputs.append(self.outputs[state])
        return outputs

    @classmethod
    def random(cls, states: int, symbols: Sequence[str], generator: np.random.Generator) -> "Moore":
        """A random machine whose states are all reachable. Outputs are 0 and 1; with two states or more, both occur.

        Each state except the first is the target of one random move of an earlier state. All other moves are uniform.
        """
        moves = generator.integers(states, size=(states, len(symbols)))
        free: list[tuple[int, int]] = []
        for state in range(states):
            if state:
                origin, symbol = free.pop(int(generator.integers(len(free))))
                moves[origin, symbol] = state
            free += [(state, symbol) for symbol in range(len(symbols))]
        outputs = generator.integers(2, size=states)
        if states > 1 and outputs.min() == outputs.max():
            outputs[generator.integers(states)] ^= 1
        return cls(tuple(symbols), tuple("01"[bit] for bit in outputs), tuple(tuple(row) for row in moves.tolist()))
