"""Mealy machines as arrays: run on many words at once, minimised and compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fwplab.automata import Moore
from fwplab.errors import UserError
from fwplab.languages import Language

MOST_STATES = 20_000
"""The most states of a language's own machine: a stack has 2^depth of them."""
UNDEFINED = -1
"""The output of a move without a label."""
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mealy:
    """A Mealy machine with the states 0 to n - 1. It starts in state 0.

    - `symbols`, `classes`: the alphabet and the possible labels.
    - `moves`: the next states, `[states, symbols]`.
    - `outputs`: the outputs of the moves, `[states, symbols]`: indices into `classes`, or UNDEFINED.
    """

    symbols: tuple[str, ...]
    classes: tuple[str, ...]
    moves: Integers
    outputs: Integers

    @classmethod
    def from_moore(cls, machine: Moore) -> "Mealy":
        """The equivalent Mealy machine: each move has the output of the state that it leads to."""
        index = {None: UNDEFINED} | {name: number for number, name in enumerate(machine.classes)}
        outputs = np.array([index[output] for output in machine.outputs])
        moves = np.array(machine.moves)
        return cls(machine.symbols, machine.classes, moves, outputs[moves])

    def __len__(self) -> int:
        return len(self.moves)

    def run(self, tokens: Integers) -> Integers:
        """The outputs `[words, time]` on token ids `[words, time]`.

        An id that is not the index of a symbol is padding. It does not change the state, and its output is UNDEFINED.
        """
        states, outputs = np.zeros(len(tokens), dtype=np.int64), np.full(tokens.shape, UNDEFINED)
        for place in range(tokens.shape[1]):
            column = tokens[:, place]
            inside = column < len(self.symbols)
            here, read = states[inside], column[inside]
            outputs[inside, place] = self.outputs[here, read]
            states[inside] = self.moves[here, read]
        return outputs

    def output_after(self, word: str) -> int:
        """The output of the last move on a word that is not empty."""
        tokens = np.array([[self.symbols.index(symbol) for symbol in word]], dtype=np.int64)
        return int(self.run(tokens)[0, -1])

    def access_words(self) -> list[tuple[int, ...]]:
        """For each reachable state the first shortest word that leads to it, as symbol indices."""
        words: dict[int, tuple[int, ...]] = {0: ()}
        waiting = [0]
        for state in waiting:
            for symbol, after in enumerate(self.moves[state].tolist()):
                if after not in words:
                    words[after] = (*words[state], symbol)
                    waiting.append(after)
        return [words[state] for state in sorted(words)]

    def minimal(self) -> "Mealy":
        """The smallest machine with the same outputs, by Moore's partition refinement on the reachable states."""
        classes = np.unique(self.outputs, axis=0, return_inverse=True)[1].reshape(-1)
        while True:
            rows = np.column_stack([classes, classes[self.moves]])
            finer = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
            if finer.max(initial=0) == classes.max(initial=0):
                break
            classes = finer
        order: dict[int, int] = {int(classes[0]): 0}
        leaders = [0]
        for leader in leaders:
            for after in self.moves[leader].tolist():
                if int(classes[after]) not in order:
                    order[int(classes[after])] = len(order)
                    leaders.append(after)
        renamed = np.array([[order[int(classes[after])] for after in self.moves[leader]] for leader in leaders])
        return Mealy(self.symbols, self.classes, renamed.reshape(len(leaders), -1), self.outputs[leaders])

    def restricted_to(self, labelled: "Mealy") -> "Mealy":
        """The machine with its outputs replaced by UNDEFINED wherever those of `labelled` are UNDEFINED."""
        places, waiting = {(0, 0): 0}, [(0, 0)]
        moves, outputs = [], []
        for mine, yours in waiting:
            after = list(zip(self.moves[mine].tolist(), labelled.moves[yours].tolist(), strict=True))
            waiting += [pair for pair in dict.fromkeys(after) if pair not in places]
            moves.append([places.setdefault(pair, len(places)) for pair in after])
            outputs.append(np.where(labelled.outputs[yours] == UNDEFINED, UNDEFINED, self.outputs[mine]))
        return Mealy(self.symbols, self.classes, np.array(moves), np.array(outputs))

    def difference(self, other: "Mealy") -> str | None:
        """The first shortest word whose last outputs differ; None if the machines are equivalent.

        >>> twice = Mealy(("a",), ("0", "1"), np.array([[1], [0]]), np.array([[0], [1]]))
        >>> once = Mealy(("a",), ("0", "1"), np.array([[0]]), np.array([[0]]))
        >>> twice.difference(once), twice.difference(twice)
        ('aa', None)
        """
        words = {(0, 0): ""}
        waiting = [(0, 0)]
        for mine, yours in waiting:
            for index, symbol in enumerate(self.symbols):
                word = words[mine, yours] + symbol
                if self.outputs[mine, index] != other.outputs[yours, index]:
                    return word
                pair = int(self.moves[mine, index]), int(other.moves[yours, index])
                if pair not in words:
                    words[pair] = word
                    waiting.append(pair)
        return None

    def labels(self) -> list[str] | None:
        """One label for each state, if all moves into a state have the same output; None otherwise."""
        incoming: dict[int, set[int]] = {}
        for after, output in zip(self.moves.flatten().tolist(), self.outputs.flatten().tolist(), strict=True):
            incoming.setdefault(after, set()).add(output)
        if any(len(outputs) > 1 for outputs in incoming.values()):
            return None
        return [self.name_of(*incoming[state]) if state in incoming else "" for state in range(len(self))]

    def name_of(self, output: int) -> str:
        """The class of an output; a dash for UNDEFINED."""
        return "-" if output == UNDEFINED else self.classes[output]

    def arrows(self) -> dict[tuple[int, int], str]:
        """The text of each arrow between two states: its symbols, with their outputs if the states have no labels."""
        plain = self.labels() is not None
        texts: dict[tuple[int, int], list[str]] = {}
        for state, index in np.ndindex(*self.moves.shape):
            symbol, output = self.symbols[index], self.name_of(int(self.outputs[state, index]))
            texts.setdefault((state, int(self.moves[state, index])), []).append(
                symbol if plain else f"{symbol}/{output}"
            )
        return {pair: ", ".join(written) for pair, written in texts.items()}

    def to_dot(self) -> str:
        """Draws the machine in the DOT language."""
        labels = self.labels() or [str(state) for state in range(len(self))]
        lines = ["digraph {", "  rankdir=LR;", "  start [shape=point];", "  start -> s0;"]
        lines += [f'  s{state} [shape=circle, label="{escape_dot(label)}"];' for state, label in enumerate(labels)]
        lines += [f'  s{one} -> s{other} [label="{escape_dot(text)}"];' for (one, other), text in self.arrows().items()]
        return "\n".join([*lines, "}"]) + "\n"


def mealy_of(language: Language, depth: int, *, everywhere: bool = False) -> Mealy:
    """The language's own machine on the states that are at most `depth` moves from the start.

    Moves without a label lead to an extra state whose outputs are all UNDEFINED. These are the moves without a label in
    the language, the moves beyond `depth`, and the moves after which no word can follow, since models are trained on
    words only. The last kind keeps its labels with `everywhere`.

    Raises `UserError` if there are more than `MOST_STATES`, as in a language with a stack.
    """
    states: dict[object, int] = {language.start: 0}
    depths = {language.start: 0}
    waiting = [language.start]
    moves: list[list[int]] = []
    outputs: list[list[int]] = []
    sink = -1
    for state in waiting:
        row_moves, row_outputs = [], []
        for symbol in language.symbols:
            after = language.step(state, symbol)
            label = language.label(after)
            known = after in states or depths[state] < depth
            if label is None or not known or not (everywhere or language.following(after)):
                row_moves.append(sink)
                row_outputs.append(UNDEFINED)
                continue
            if after not in states:
                if len(states) == MOST_STATES:
                    raise UserError(
                        f"{language.name} has more than {MOST_STATES:,} states within {depth} moves from its start; "
                        "choose a smaller depth or a language without a stack"
                    )
                states[after], depths[after] = len(states), depths[state] + 1
                waiting.append(after)
            row_moves.append(states[after])
            row_outputs.append(language.classes.index(label))
        moves.append(row_moves)
        outputs.append(row_outputs)
    move_table, output_table = np.array(moves), np.array(outputs)
    if (move_table == sink).any():
        move_table = np.vstack(
            [np.where(move_table == sink, len(moves), move_table), np.full(move_table.shape[1], len(moves))]
        )
        output_table = np.vstack([output_table, np.full(output_table.shape[1], UNDEFINED)])
    return Mealy(language.symbols, language.classes, move_table, output_table).minimal()


def escape_dot(text: str) -> str:
    """Escapes text for a quoted string of the DOT language."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def pad_words(words: Sequence[Sequence[int]], padding: int) -> Integers:
    """Words as one array `[words, time]`, padded at the end."""
    longest = max(map(len, words), default=0)
    rows = [[*word, *[padding] * (longest - len(word))] for word in words]
    return np.array(rows, dtype=np.int64).reshape(-1, longest)
