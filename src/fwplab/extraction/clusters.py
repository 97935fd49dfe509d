"""Extracts a machine from a model's states: states in the same cluster become one state of the machine."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from fwplab.errors import UserError
from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.mealy import UNDEFINED, Integers, Mealy
from fwplab.extraction.observable import observable
from fwplab.probes.words import flatten_states

ENOUGH = 0.999
"""The share of the labels that a clustering must get right. The smallest number of clusters that reaches it is used."""
FITTED = 3_000
"""The most states that the clusters are fitted to."""
COMPONENTS, MOST_CLUSTERS = 16, 48
"""The most principal components, and the most clusters."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """The result of `cluster`.

    - `machine`: the minimal machine of the clusters, restricted to positions with a label.
    - `clusters`: the number of clusters.
    - `complete`: whether the machine gives enough of the model's labels.
    """

    machine: Mealy
    clusters: int
    complete: bool


@dataclass(frozen=True)
class _StateTraces:
    """The model's states on the examples, `vectors` `[words, time + 1, numbers]`, with its inputs and its labels."""

    vectors: NDArray[np.float64]
    tokens: Integers
    labels: Integers


def cluster(
    box: BlackBox, examples: Integers, most: int, generator: np.random.Generator, enough: float = ENOUGH
) -> Clustering:
    """The smallest k-means clustering of the model's states whose machine gives the model's labels.

    The number of clusters k = 1, 2, ... grows until the machine is right. Each cluster of the model's states is a state
    of the machine. The moves and outputs of the machine are decided by majority vote. States are compared in
    `observable` coordinates first, and then, if no clustering is right, in whitened principal components. If still none
    is right, the best clustering is returned, with `complete=False`.

    examples: token ids of the words to read, `[words, time]`.
    most: the largest number of clusters.
    enough: the share of labels to get right.

    Raises `UserError` for a state that grows with the word or is not finite.
    """
    traces = _trace_states(box, examples)
    if not np.isfinite(traces.vectors).all():
        raise UserError("this model's state is not finite, so that it has no clusters; choose from: lstar, kv")
    inside = traces.tokens < len(box.labelled.symbols)
    some = np.flatnonzero(np.pad(inside, ((0, 0), (1, 0)), constant_values=True))
    best = _vote_machine(box, traces, np.zeros(traces.vectors.shape[:2], dtype=np.int64))
    best_count, best_share = 1, -1.0
    for points in _coordinates(box, traces, some, generator):
        distinct = np.unique(points[some].round(6), axis=0)
        sample, seed = generator.permutation(distinct)[:FITTED], int(generator.integers(2**31))
        for count in range(1, min(most, MOST_CLUSTERS, len(sample)) + 1):
            where = KMeans(count, n_init=2, random_state=seed).fit(sample).predict(points)
            machine = _vote_machine(box, traces, where.reshape(traces.vectors.shape[:2]).astype(np.int64))
            share = float((machine.run(traces.tokens) == traces.labels)[inside].mean())
            if share > best_share:
                best, best_count, best_share = machine, count, share
            if share >= enough:
                return Clustering(best.restricted_to(box.labelled).minimal(), best_count, True)
    return Clustering(best.restricted_to(box.labelled).minimal(), best_count, False)


def _coordinates(
    box: BlackBox, traces: _StateTraces, some: Integers, generator: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yields coordinates `[words * (time + 1), coordinates]` of all states: observable ones, then principal components.

    `some` are the indices of the states inside a word.
    """
    flat = traces.vectors.reshape(-1, traces.vectors.shape[-1])
    lengths = (traces.tokens < len(box.labelled.symbols)).sum(1)
    observed = observable(box.model, traces.vectors, traces.tokens, lengths.tolist(), generator)
    if observed.shape[1]:
        yield flat @ observed
    components = min(COMPONENTS, *flat[some].shape)
    axes = PCA(components, whiten=True, random_state=int(generator.integers(2**31)))
    yield axes.fit(flat[generator.permutation(some)[:FITTED]]).transform(flat)


@torch.no_grad()
def _trace_states(box: BlackBox, tokens: Integers) -> _StateTraces:
    read = torch.from_numpy(np.minimum(tokens, len(box.labelled.symbols) - 1))
    state = box.model.initial_state(len(tokens))
    vectors = [flatten_states(state)]
    for column in read.unbind(1):
        _, state = box.model.step(column, state)
        vectors.append(flatten_states(state))
    if vectors[0].shape != vectors[-1].shape:
        raise UserError("this model's state grows with the word, so that it has no clusters; choose from: lstar, kv")
    return _StateTraces(torch.stack(vectors, 1).double().numpy(), tokens, box.labels(tokens))


def _vote_machine(box: BlackBox, traces: _StateTraces, where: Integers) -> Mealy:
    """The machine by majority vote. Moves that do not occur lead to an extra state without outputs."""
    labelled, count = box.labelled, int(where.max()) + 1
    symbols, classes = len(labelled.symbols), len(labelled.classes)
    inside = traces.tokens < symbols
    before, read, after = where[:, :-1][inside], traces.tokens[inside], where[:, 1:][inside]
    targets, outputs = np.zeros((count, symbols, count)), np.zeros((count, symbols, classes + 1))
    np.add.at(targets, (before, read, after), 1)
    np.add.at(outputs, (before, read, traces.labels[inside] + 1), 1)  # UNDEFINED is the first
    seen = targets.sum(-1) > 0
    moves = np.vstack([np.where(seen, targets.argmax(-1), count), np.full(symbols, count)])
    majority = np.vstack([np.where(seen, outputs.argmax(-1) - 1, UNDEFINED), np.full(symbols, UNDEFINED)])
    start = int(where[0, 0])
    order = np.array([start, *(n for n in range(count + 1) if n != start)])
    rank = np.argsort(order)
    return Mealy(labelled.symbols, labelled.classes, rank[moves[order]], majority[order])
