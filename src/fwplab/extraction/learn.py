"""Learning a model's machine from its answers: L* and KV of AALpy, with equivalence tested on batches of words."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Literal

import numpy as np
from aalpy.automata import MealyMachine
from aalpy.base import SUL, Oracle
from aalpy.learning_algs import run_KV, run_Lstar

from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.mealy import UNDEFINED, Integers, Mealy, tokens_of

EXHAUSTIVE = 4_096
"""Words of one length that are all tried; of longer ones a sample is."""
WALKS = 1_000
QUERIES_A_STATE = 200
"""The learner's own queries, times the most states that are wanted: beyond them the model is not that small."""
LONGEST_MIDDLE = 30


class _TooLarge(Exception):  # noqa: N818  # an answer, no error
    pass


class _Asked(SUL):  # type: ignore[misc]
    """The black box as AALpy asks it, not more than `most` times."""

    def __init__(self, box: BlackBox, most: int) -> None:
        super().__init__()
        self.box, self.most = box, most

    def query(self, word: tuple[int, ...]) -> list[int]:
        """The outputs at every position of one word."""
        self.num_queries += 1
        if self.num_queries > self.most:
            raise _TooLarge
        return self.box.answer(tuple(word))

    def pre(self) -> None:
        """A new word."""
        self.word: tuple[int, ...] = ()

    def post(self) -> None:
        """Its end."""

    def step(self, letter: int) -> int:
        """One more symbol."""
        self.word = (*self.word, letter)
        return self.box.answer(self.word)[-1]


class _Tested(Oracle):  # type: ignore[misc]
    """Looks for the shortest word on which a hypothesis and the model differ.

    All words of a length while there are not too many; then random ones in the manner of the W-method (to a state of
    the hypothesis, on at random, and a last symbol or two); then the `examples`. A hypothesis of more than `most`
    states is not followed any further.
    """

    def __init__(self, box: BlackBox, examples: Integers, most: int, generator: np.random.Generator) -> None:
        symbols = list(range(len(box.asked.symbols)))
        super().__init__(symbols, _Asked(box, QUERIES_A_STATE * most))
        self.box, self.examples, self.most, self.generator = box, examples, most, generator
        self.last: Mealy | None = None

    def find_cex(self, hypothesis: MealyMachine) -> tuple[int, ...] | None:
        """The counterexample, None where no word tells them apart."""
        guess = from_aalpy(hypothesis, self.box.asked)
        if len(guess) > self.most:
            raise _TooLarge
        self.last = guess
        for tokens in self._batches(guess):
            wrong = self.box.labels(tokens) != guess.run(tokens)
            if wrong.any():
                first = np.where(wrong.any(1), wrong.argmax(1), tokens.shape[1])
                row = int(first.argmin())
                return tuple(tokens[row, : first[row] + 1].tolist())
        return None

    def _batches(self, guess: Mealy) -> Iterator[Integers]:
        for length in range(1, 64):
            if len(self.alphabet) ** length > EXHAUSTIVE:
                break
            yield np.array(list(product(self.alphabet, repeat=length)), dtype=np.int64)
        yield self._walks(guess)
        yield self.examples

    def _walks(self, guess: Mealy) -> Integers:
        access, random = guess.access(), self.generator
        words = []
        for _ in range(WALKS):
            middle = random.integers(0, len(self.alphabet), random.integers(1, LONGEST_MIDDLE + 1))
            words.append([*access[random.integers(len(access))], *middle.tolist()])
        return tokens_of(words, len(self.alphabet))


def learn(
    box: BlackBox, examples: Integers, method: Literal["lstar", "kv"], most: int, generator: np.random.Generator
) -> tuple[Mealy, bool]:
    """The machine that explains the model's answers, minimal, and whether no word was found that it gets wrong.

    Where that would need more than `most` states, the last that had fewer, or the best of one state; some word tells it
    from the model.

    L* is Angluin's, Information and Computation 75 (1987); KV is Kearns and Vazirani's, An Introduction to
    Computational Learning Theory (1994), both for Mealy machines.
    """
    oracle = _Tested(box, examples, most, generator)
    run: Any = {"lstar": run_Lstar, "kv": run_KV}[method]
    try:
        run(oracle.alphabet, oracle.sul, oracle, "mealy", cache_and_non_det_check=False, print_level=0)
    except _TooLarge:
        return (oracle.last or _one_state(box, examples)).minimal(), False
    assert oracle.last is not None
    return oracle.last.minimal(), True


def _one_state(box: BlackBox, examples: Integers) -> Mealy:
    """The machine of one state that says to each symbol what the model says to it most often."""
    asked, said = box.asked, box.labels(examples)
    counts = np.zeros((len(asked.symbols), len(asked.classes) + 1))
    inside = examples < len(asked.symbols)
    np.add.at(counts, (examples[inside], said[inside] + 1), 1)  # UNDEFINED is the first
    outputs = counts.argmax(-1)[None] - 1
    return Mealy(asked.symbols, asked.classes, np.zeros_like(outputs), outputs)


def from_aalpy(machine: MealyMachine, like: Mealy) -> Mealy:
    """AALpy's machine as arrays, over the symbols and classes of another."""
    states = [machine.initial_state, *(state for state in machine.states if state is not machine.initial_state)]
    place = {id(state): number for number, state in enumerate(states)}
    symbols = range(len(like.symbols))
    moves = np.array([[place[id(state.transitions[symbol])] for symbol in symbols] for state in states])
    outputs = np.array([[state.output_fun.get(symbol, UNDEFINED) for symbol in symbols] for state in states])
    return Mealy(like.symbols, like.classes, moves, outputs)
