"""Reading a model's machine off its states: states that lie together are one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from fwplab.errors import UserError
from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.mealy import UNDEFINED, Integers, Mealy
from fwplab.mixers import State

ENOUGH = 0.999
"""The share of the examples' labels that a clustering has to get right; the first number of clusters with it wins."""
FITTED = 3_000
"""States that the clusters are fitted to."""
COMPONENTS, MOST_CLUSTERS = 16, 24


@dataclass(frozen=True)
class _Walks:
    """The states of the model on the examples: `vectors` `[words, time + 1, numbers]`, what it read and said."""

    vectors: NDArray[np.float64]
    tokens: Integers
    said: Integers


def cluster(box: BlackBox, examples: Integers, most: int, generator: np.random.Generator) -> tuple[Mealy, bool]:
    """The machine of the smallest k-means clustering that says what the model says, minimal, and whether it does.

    For k = 1, 2, ...: a state of the machine is a cluster of the model's states on the `examples`, in their whitened
    principal components; a move goes where most of the model's moves go, and says what most of them say. Where no
    clustering is right enough, the best.
    """
    walks = _walk(box, examples)
    if not np.isfinite(walks.vectors).all():
        raise UserError("this model's state leaves the finite numbers: it has no clusters; choose from: lstar, kv")
    flat = walks.vectors.reshape(-1, walks.vectors.shape[-1])
    seeds = generator.integers(2**31, size=2).tolist()
    read = np.pad(examples < len(box.asked.symbols), ((0, 0), (1, 0)), constant_values=True).flatten()
    some = flat[generator.permutation(np.flatnonzero(read))[:FITTED]]
    components = min(COMPONENTS, *some.shape)
    axes = PCA(components, whiten=True, random_state=seeds[0]).fit(some)
    sample, points = axes.transform(some), axes.transform(flat)
    best, best_share = _machine(box, walks, np.zeros(walks.vectors.shape[:2], dtype=np.int64)), -1.0
    distinct = len(np.unique(sample.round(6), axis=0))
    for count in range(1, min(most, MOST_CLUSTERS, distinct) + 1):
        where = KMeans(count, n_init=2, random_state=seeds[1]).fit(sample).predict(points)
        machine = _machine(box, walks, where.reshape(walks.vectors.shape[:2]).astype(np.int64))
        inside = walks.tokens < len(box.asked.symbols)
        share = float((machine.run(walks.tokens) == walks.said)[inside].mean())
        if share > best_share:
            best, best_share = machine, share
        if share >= ENOUGH:
            break
    return best.within(box.asked).minimal(), best_share >= ENOUGH


@torch.no_grad()
def _walk(box: BlackBox, tokens: Integers) -> _Walks:
    read = torch.from_numpy(np.minimum(tokens, len(box.asked.symbols) - 1))
    state = box.model.initial_state(len(tokens))
    vectors = [_vector(state)]
    for column in read.unbind(1):
        _, state = box.model.step(column, state)
        vectors.append(_vector(state))
    if vectors[0].shape != vectors[-1].shape:
        raise UserError("this model's state grows with the word, so that it has no clusters; choose from: lstar, kv")
    return _Walks(torch.stack(vectors, 1).double().numpy(), tokens, box.labels(tokens))


def _vector(state: Sequence[State]) -> torch.Tensor:
    return torch.cat([part.flatten(1) for layer in state for part in layer], dim=1)


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
