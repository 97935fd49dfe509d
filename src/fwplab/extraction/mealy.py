"""Machines with an output on every move, as arrays: run on many words at once, made minimal, compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fwplab.automata import Moore
from fwplab.languages import Language

UNDEFINED = -1
"""The output of a move on which nothing is asked of a model."""
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mealy:
    """States 0, 1, ...; the start is 0. `moves` and `outputs` are `[states, symbols]`.

    An output is an index into `classes`, or UNDEFINED.
    """

    symbols: tuple[str, ...]
    classes: tuple[str, ...]
    moves: Integers
    outputs: Integers

    @classmethod
    def of(cls, machine: Moore) -> "Mealy":
        """The machine that says on every move what the state says to which it leads."""
        index = {None: UNDEFINED} | {name: number for number, name in enumerate(machine.classes)}
        said = np.array([index[output] for output in machine.outputs])
        moves = np.array(machine.moves)
        return cls(machine.symbols, machine.classes, moves, said[moves])

    def __len__(self) -> int:
        return len(self.moves)

    def run(self, tokens: Integers) -> Integers:
        """The outputs `[words, time]` on words of symbol indices; an index that is no symbol stays and says nothing."""
        states, said = np.zeros(len(tokens), dtype=np.int64), np.full(tokens.shape, UNDEFINED)
        for place in range(tokens.shape[1]):
            column = tokens[:, place]
            inside = column < len(self.symbols)
            here, read = states[inside], column[inside]
            said[inside, place] = self.outputs[here, read]
            states[inside] = self.moves[here, read]
        return said

    def output_after(self, word: str) -> int:
        """The output of the last move on a word that is not empty."""
        tokens = np.array([[self.symbols.index(symbol) for symbol in word]], dtype=np.int64)
        return int(self.run(tokens)[0, -1])

    def access(self) -> list[tuple[int, ...]]:
        """The first shortest word, as symbol indices, that leads to each state; states out of reach are left out."""
        words: dict[int, tuple[int, ...]] = {0: ()}
        waiting = [0]
        for state in waiting:
            for symbol, after in enumerate(self.moves[state].tolist()):
                if after not in words:
                    words[after] = (*words[state], symbol)
                    waiting.append(after)
        return [words[state] for state in sorted(words)]

    def minimal(self) -> "Mealy":
        """The smallest machine with the same outputs: Moore's partition refinement on the states within reach."""
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

    def within(self, asked: "Mealy") -> "Mealy":
        """The machine that says the same where `asked` says something, and nothing elsewhere."""
        places, waiting = {(0, 0): 0}, [(0, 0)]
        moves, outputs = [], []
        for mine, yours in waiting:
            after = list(zip(self.moves[mine].tolist(), asked.moves[yours].tolist(), strict=True))
            waiting += [pair for pair in dict.fromkeys(after) if pair not in places]
            moves.append([places.setdefault(pair, len(places)) for pair in after])
            outputs.append(np.where(asked.outputs[yours] == UNDEFINED, UNDEFINED, self.outputs[mine]))
        return Mealy(self.symbols, self.classes, np.array(moves), np.array(outputs))

    def difference(self, other: "Mealy") -> str | None:
        """The first shortest word whose last outputs differ, None where the machines do the same.

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
        """One label a state where every move into it has the same output, None where that is not so."""
        said: dict[int, set[int]] = {}
        for after, output in zip(self.moves.flatten().tolist(), self.outputs.flatten().tolist(), strict=True):
            said.setdefault(after, set()).add(output)
        if any(len(outputs) > 1 for outputs in said.values()):
            return None
        return [self.name_of(*said[state]) if state in said else "" for state in range(len(self))]

    def name_of(self, output: int) -> str:
        """The class of an output, a dash for none."""
        return "-" if output == UNDEFINED else self.classes[output]

    def arrows(self) -> dict[tuple[int, int], str]:
        """From which state to which, and what the arrow says: symbols, with outputs unless the states have them."""
        plain = self.labels() is not None
        texts: dict[tuple[int, int], list[str]] = {}
        for state, index in np.ndindex(*self.moves.shape):
            symbol, said = self.symbols[index], self.name_of(int(self.outputs[state, index]))
            texts.setdefault((state, int(self.moves[state, index])), []).append(symbol if plain else f"{symbol}/{said}")
        return {pair: ", ".join(written) for pair, written in texts.items()}

    def to_dot(self) -> str:
        """The machine in the DOT language."""
        labels = self.labels() or [str(state) for state in range(len(self))]
        lines = ["digraph {", "  rankdir=LR;", "  start [shape=point];", "  start -> s0;"]
        lines += [f'  s{state} [shape=circle, label="{escaped(label)}"];' for state, label in enumerate(labels)]
        lines += [f'  s{one} -> s{other} [label="{escaped(text)}"];' for (one, other), text in self.arrows().items()]
        return "\n".join([*lines, "}"]) + "\n"


def mealy_of(language: Language, depth: int, *, everywhere: bool = False) -> Mealy:
    """The language's own machine on the states that `depth` moves or fewer can reach.

    Moves on which nothing is asked lead to a last state that asks nothing any more: those without a label, those that
    reach deeper, and, unless `everywhere`, those after which no word can follow, since models are trained on words.
    """
    states: dict[object, int] = {language.start: 0}
    deep = {language.start: 0}
    waiting = [language.start]
    moves: list[list[int]] = []
    outputs: list[list[int]] = []
    sink = -1
    for state in waiting:
        row, said = [], []
        for symbol in language.symbols:
            after = language.step(state, symbol)
            label = language.label(after)
            known = after in states or deep[state] < depth
            if label is None or not known or not (everywhere or language.following(after)):
                row.append(sink)
                said.append(UNDEFINED)
                continue
            if after not in states:
                states[after], deep[after] = len(states), deep[state] + 1
                waiting.append(after)
            row.append(states[after])
            said.append(language.classes.index(label))
        moves.append(row)
        outputs.append(said)
    table, heard = np.array(moves), np.array(outputs)
    if (table == sink).any():
        table = np.vstack([np.where(table == sink, len(moves), table), np.full(table.shape[1], len(moves))])
        heard = np.vstack([heard, np.full(heard.shape[1], UNDEFINED)])
    return Mealy(language.symbols, language.classes, table, heard).minimal()


def escaped(text: str) -> str:
    """Text as it stands between quotes in the DOT language."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def tokens_of(words: Sequence[Sequence[int]], padding: int) -> Integers:
    """Words as one array, padded at the end."""
    longest = max(map(len, words), default=0)
    rows = [[*word, *[padding] * (longest - len(word))] for word in words]
    return np.array(rows, dtype=np.int64).reshape(-1, longest)
