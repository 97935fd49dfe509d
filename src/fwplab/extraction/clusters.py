"""Reading a model's machine off its states: states that lie together are one."""

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
"""The share of the examples' labels that a clustering has to get right; the first number of clusters with it wins."""
FITTED = 3_000
"""States that the clusters are fitted to."""
COMPONENTS, MOST_CLUSTERS = 16, 48


@dataclass(frozen=True, eq=False)
class Clustering:
    """The machine of so many clusters, minimal, where something is asked; `complete`: it says what the model says."""

    machine: Mealy
    clusters: int
    complete: bool


@dataclass(frozen=True)
class _Walks:
    """The states of the model on the examples: `vectors` `[words, time + 1, numbers]`, what it read and said."""

    vectors: NDArray[np.float64]
    tokens: Integers
    said: Integers


def cluster(
    box: BlackBox, examples: Integers, most: int, generator: np.random.Generator, enough: float = ENOUGH
) -> Clustering:
    """The smallest k-means clustering whose machine says what the model says.

    For k = 1, 2, ...: a state of the machine is a cluster of the model's states on the `examples`; a move goes where
    most of the model's moves go, and says what most of them say; `enough` is the share of labels to get right. States
    are compared by their `observable` coordinates; where no clustering of those is right enough, by their whitened
    principal components; where none is, the best.
    """
    walks = _walk(box, examples)
    if not np.isfinite(walks.vectors).all():
        raise UserError("this model's state leaves the finite numbers: it has no clusters; choose from: lstar, kv")
    inside = walks.tokens < len(box.asked.symbols)
    some = np.flatnonzero(np.pad(inside, ((0, 0), (1, 0)), constant_values=True))
    best, best_count, best_share = _machine(box, walks, np.zeros(walks.vectors.shape[:2], dtype=np.int64)), 1, -1.0
    for points in _coordinates(box, walks, some, generator):
        distinct = np.unique(points[some].round(6), axis=0)
        sample, seed = generator.permutation(distinct)[:FITTED], int(generator.integers(2**31))
        for count in range(1, min(most, MOST_CLUSTERS, len(sample)) + 1):
            where = KMeans(count, n_init=2, random_state=seed).fit(sample).predict(points)
            machine = _machine(box, walks, where.reshape(walks.vectors.shape[:2]).astype(np.int64))
            share = float((machine.run(walks.tokens) == walks.said)[inside].mean())
            if share > best_share:
                best, best_count, best_share = machine, count, share
            if share >= enough:
                return Clustering(best.within(box.asked).minimal(), best_count, True)
    return Clustering(best.within(box.asked).minimal(), best_count, False)


def _coordinates(
    box: BlackBox, walks: _Walks, some: Integers, generator: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """All states `[words * (time + 1), coordinates]`, observable ones, then principal components; `some` lie
    inside a word."""
    flat = walks.vectors.reshape(-1, walks.vectors.shape[-1])
    lengths = (walks.tokens < len(box.asked.symbols)).sum(1)
    observed = observable(box.model, walks.vectors, walks.tokens, lengths.tolist(), generator)
    if observed.shape[1]:
        yield flat @ observed
    components = min(COMPONENTS, *flat[some].shape)
    axes = PCA(components, whiten=True, random_state=int(generator.integers(2**31)))
    yield axes.fit(flat[generator.permutation(some)[:FITTED]]).transform(flat)


@torch.no_grad()
def _walk(box: BlackBox, tokens: Integers) -> _Walks:
    read = torch.from_numpy(np.minimum(tokens, len(box.asked.symbols) - 1))
    state = box.model.initial_state(len(tokens))
    vectors = [flatten_states(state)]
    for column in read.unbind(1):
        _, state = box.model.step(column, state)
        vectors.append(flatten_states(state))
    if vectors[0].shape != vectors[-1].shape:
        raise UserError("this model's state grows with the word, so that it has no clusters; choose from: lstar, kv")
    return _Walks(torch.stack(vectors, 1).double().numpy(), tokens, box.labels(tokens))


def _machine(box: BlackBox, walks: _Walks, where: Integers) -> Mealy:
    """Votes of the moves; those that were never seen lead to a last state where nothing is asked."""
    asked, count = box.asked, int(where.max()) + 1
    symbols, classes = len(asked.symbols), len(asked.classes)
    inside = walks.tokens < symbols
    before, read, after = where[:, :-1][inside], walks.tokens[inside], where[:, 1:][inside]
    targets, outputs = np.zeros((count, symbols, count)), np.zeros((count, symbols, classes + 1))
    np.add.at(targets, (before, read, after), 1)
    np.add.at(outputs, (before, read, walks.said[inside] + 1), 1)  # UNDEFINED is the first
    seen = targets.sum(-1) > 0
    moves = np.vstack([np.where(seen, targets.argmax(-1), count), np.full(symbols, count)])
    said = np.vstack([np.where(seen, outputs.argmax(-1) - 1, UNDEFINED), np.full(symbols, UNDEFINED)])
    start = int(where[0, 0])
    order = np.array([start, *(n for n in range(count + 1) if n != start)])
    rank = np.argsort(order)
    return Mealy(asked.symbols, asked.classes, rank[moves[order]], said[order])
