"""Checks a construction: on all words up to a length, on long words, and for the length where precision fails."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fwplab.constructions.construction import Construction, Task, labels
from fwplab.data.dataset import IGNORE, Dataset
from fwplab.mixers import State
from fwplab.ops import prefer
from fwplab.training.evaluate import first_errors

RANDOM_WORDS = 4
"""The number of random words tested at each length, in addition to the hardest word."""


@dataclass(frozen=True)
class Exhaustive:
    """The result of reading all words up to a length.

    - `longest`: the largest length that was read.
    - `words`: the number of words that the task labels.
    - `situations`: the number of distinct situations that they lead to (see `exhaustive`).
    - `wrong`: a shortest word whose last label is wrong; None if all are right.
    - `closed`: whether the longest words led to no new situation. The model is then right on words of every length.
    """

    longest: int
    words: int
    situations: int
    wrong: str | None
    closed: bool


@dataclass
class _Node:
    """The words of one length in one situation: the first of them, their number, and the state of the task."""

    word: str
    count: int
    task_state: Any


@torch.no_grad()
def exhaustive(construction: Construction, dtype: torch.dtype, longest: int = 12) -> Exhaustive:
    """Reads all words of up to `longest` symbols, as one tree.

    Two words are in the same situation when they leave the model with the same state, bit for bit, and the task in the
    same state. No continuation can distinguish them. The check therefore extends one of them and only counts the
    others.
    """
    task, seen = construction.task, set[tuple[bytes, Any]]()
    frontier, words, closed = [_Node("", 1, task.start)], 0, False
    with forms_for(dtype):
        model = construction.build(dtype)
        state = model.initial_state(1)
        for _ in range(longest):
            children, parents, tokens = _children(task, frontier)
            if not children:
                return Exhaustive(longest, words, len(seen), None, True)
            logits, state = model.step(torch.tensor(tokens), [_rows(layer, parents) for layer in state])
            words += sum(node.count for node in children)
            for node, predicted in zip(children, logits.argmax(-1).tolist(), strict=True):
                if task.label(node.task_state) not in (None, task.classes[predicted]):
                    return Exhaustive(longest, words, len(seen), node.word, False)
            first_of = _merge(children, state)
            closed = first_of.keys() <= seen
            seen |= first_of.keys()
            kept = list(first_of.values())
            frontier, state = [children[place] for place in kept], [_rows(layer, kept) for layer in state]
    return Exhaustive(longest, words, len(seen), None, closed)


def _children(task: Task, frontier: Sequence[_Node]) -> tuple[list[_Node], list[int], list[int]]:
    """All words one symbol longer that can still be labelled, the index of the parent of each, and its last token."""
    children, parents, tokens = [], [], []
    for place, node in enumerate(frontier):
        for token, symbol in enumerate(task.symbols):
            after = task.step(node.task_state, symbol)
            if after is None and task.label(after) is None:
                continue
            children.append(_Node(node.word + symbol, node.count, after))
            parents.append(place)
            tokens.append(token)
    return children, parents, tokens


def _merge(nodes: Sequence[_Node], state: Sequence[State]) -> dict[tuple[bytes, Any], int]:
    """Maps each situation to the index of its first node, and adds the counts of the other nodes to that node."""
    # Adding 0 makes -0 and 0 the same bits.
    rows = torch.cat([part.flatten(1) for layer in state for part in layer], dim=1).add(0.0)
    places: dict[tuple[bytes, Any], int] = {}
    for place, (node, row) in enumerate(zip(nodes, rows.view(torch.uint8).numpy(), strict=True)):
        first = places.setdefault((row.tobytes(), node.task_state), place)
        if first != place:
            nodes[first].count += node.count
    return places


def _rows(layer: State, places: Sequence[int]) -> State:
    chosen = torch.tensor(places, dtype=torch.long)
    return tuple(part.index_select(0, chosen) for part in layer)


def measure_break(construction: Construction, dtype: torch.dtype, longest: int, seed: int = 0) -> int | None:
    """The length of the shortest word found that the model gets wrong; None if there is none up to `longest`.

    Tests the construction's hardest word and some random words. Doubles the length until one of them is wrong, then
    searches the last interval by bisection.
    """
    right, wrong = 0, 1
    while not mislabelled(construction, dtype, min(wrong, longest), seed):
        if wrong >= longest:
            return None
        right, wrong = wrong, 2 * wrong
    wrong = min(wrong, longest)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if mislabelled(construction, dtype, middle, seed):
            wrong = middle
        else:
            right = middle
    return wrong


def mislabelled(construction: Construction, dtype: torch.dtype, length: int, seed: int = 0) -> bool:
    """Whether the model gets a word of about `length` symbols wrong: the hardest one, or one of `RANDOM_WORDS`."""
    generator = np.random.default_rng(seed)
    words = [construction.hardest_word(length)]
    words += [construction.random_word(length, generator) for _ in range(RANDOM_WORDS)]
    with forms_for(dtype):
        errors = first_errors(construction.build(dtype), dataset(construction.task, words))
    return any(error is not None for error in errors)


def dataset(task: Task, words: Sequence[str]) -> Dataset:
    """Words with the task's labels; positions without a label are IGNORE."""
    lengths = np.array([len(word) for word in words])
    tokens = np.full((len(words), int(lengths.max(initial=0))), len(task.symbols), dtype=np.int64)
    found = np.full(tokens.shape, IGNORE, dtype=np.int64)
    for row, word in enumerate(words):
        tokens[row, : len(word)] = [task.symbols.index(symbol) for symbol in word]
        found[row, : len(word)] = [IGNORE if name is None else task.classes.index(name) for name in labels(task, word)]
    return Dataset(tuple(words), tokens, found, lengths)


def forms_for(dtype: torch.dtype) -> AbstractContextManager[None]:
    """Selects the step-by-step reference for precisions without compiled kernels: other forms sum in another order."""
    return nullcontext() if dtype in (torch.float32, torch.float64) else prefer("reference")
