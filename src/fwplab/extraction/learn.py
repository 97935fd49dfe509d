"""Learns a machine from a model's labels: L* and KV of AALpy, with equivalence tested on batches of words."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Literal

import numpy as np
from aalpy.automata import MealyMachine
from aalpy.base import SUL, Oracle
from aalpy.learning_algs import run_KV, run_Lstar

from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.mealy import UNDEFINED, Integers, Mealy, pad_words

EXHAUSTIVE = 4_096
"""All words of a length are tested if there are at most this many."""
WALKS = 1_000
"""The number of random test words."""
QUERIES_A_STATE = 200
"""The limit of the learner's queries, for each state allowed. A learner that needs more queries is stopped."""
LONGEST_MIDDLE = 30
"""The longest random part of a test word."""


class _TooLarge(Exception):  # noqa: N818  # a result of the search, not an error
    pass


class _BlackBoxSystem(SUL):  # type: ignore[misc]
    """AALpy's interface to the black box. It allows at most `most` queries."""

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
        """Starts a new word."""
        self.word: tuple[int, ...] = ()

    def post(self) -> None:
        """Ends the word."""

    def step(self, letter: int) -> int:
        """The label after one more symbol."""
        self.word = (*self.word, letter)
        return self.box.answer(self.word)[-1]


class _TestingOracle(Oracle):  # type: ignore[misc]
    """Searches for a word on which a hypothesis and the model differ.

    Tests all words of a length while there are few, then random words, then the `examples`. A random word leads to a
    state of the hypothesis and goes on at random, similar to the W-method. Stops at a hypothesis of more than `most`
    states.
    """

    def __init__(self, box: BlackBox, examples: Integers, most: int, generator: np.random.Generator) -> None:
        symbols = list(range(len(box.labelled.symbols)))
        super().__init__(symbols, _BlackBoxSystem(box, QUERIES_A_STATE * most))
        self.box, self.examples, self.most, self.generator = box, examples, most, generator
        self.last: Mealy | None = None

    def find_cex(self, hypothesis: MealyMachine) -> tuple[int, ...] | None:
        """A counterexample; None if no difference was found."""
        guess = from_aalpy(hypothesis, self.box.labelled)
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
        access, random = guess.access_words(), self.generator
        words = []
        for _ in range(WALKS):
            middle = random.integers(0, len(self.alphabet), random.integers(1, LONGEST_MIDDLE + 1))
            words.append([*access[random.integers(len(access))], *middle.tolist()])
        return pad_words(words, len(self.alphabet))


def learn(
    box: BlackBox, examples: Integers, method: Literal["lstar", "kv"], most: int, generator: np.random.Generator
) -> tuple[Mealy, bool]:
    """Learns the minimal machine that gives the model's labels. Returns also whether every test word agreed.

    If that machine would need more than `most` states, returns the last hypothesis within the limit, or else the best
    machine of one state. Some word then shows a difference.

    examples: token ids of words to test, `[words, time]`.
    method: "lstar" is Angluin's L*, Information and Computation 75 (1987). "kv" is that of Kearns and Vazirani, An
        Introduction to Computational Learning Theory (1994). Both are used in their versions for Mealy machines.
    most: the largest number of states.
    """
    oracle = _TestingOracle(box, examples, most, generator)
    run: Any = {"lstar": run_Lstar, "kv": run_KV}[method]
    try:
        run(oracle.alphabet, oracle.sul, oracle, "mealy", cache_and_non_det_check=False, print_level=0)
    except _TooLarge:
        return (oracle.last or _one_state(box, examples)).minimal(), False
    assert oracle.last is not None
    return oracle.last.minimal(), True


def _one_state(box: BlackBox, examples: Integers) -> Mealy:
    """The machine of one state that gives the model's most frequent label for each symbol."""
    labelled, predicted = box.labelled, box.labels(examples)
    counts = np.zeros((len(labelled.symbols), len(labelled.classes) + 1))
    inside = examples < len(labelled.symbols)
    np.add.at(counts, (examples[inside], predicted[inside] + 1), 1)  # UNDEFINED is the first
    outputs = counts.argmax(-1)[None] - 1
    return Mealy(labelled.symbols, labelled.classes, np.zeros_like(outputs), outputs)


def from_aalpy(machine: MealyMachine, like: Mealy) -> Mealy:
    """Converts AALpy's machine. Symbols and classes are those of `like`."""
    states = [machine.initial_state, *(state for state in machine.states if state is not machine.initial_state)]
    place = {id(state): number for number, state in enumerate(states)}
    symbols = range(len(like.symbols))
    moves = np.array([[place[id(state.transitions[symbol])] for symbol in symbols] for state in states])
    outputs = np.array([[state.output_fun.get(symbol, UNDEFINED) for symbol in symbols] for state in states])
    return Mealy(like.symbols, like.classes, moves, outputs)
