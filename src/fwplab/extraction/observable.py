"""Coordinates of a model's state in which states lie together if the model goes on to say the same."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fwplab.extraction.mealy import Integers
from fwplab.model import Model
from fwplab.probes.words import unflatten_states

SHARE, MOST = 0.99, 32
"""Of the trace of G, what the coordinates that are kept hold; and how many they are at most."""
SAMPLED, AHEAD = 1_000, 10
"""Positions at which the gradient is taken, and how many symbols later answers still count."""


def observable(
    model: Model, vectors: NDArray[np.float64], tokens: Integers, lengths: Sequence[int], generator: np.random.Generator
) -> NDArray[np.float64]:
    """`[numbers, coordinates]`, by which states are multiplied; none where no answer depends on the state, or where its
    derivatives leave the finite numbers.

    `vectors` `[words, time + 1, numbers]` are the states before each symbol of `tokens` `[words, time]`. With J_n the
    derivative of the logits after the n-th next symbol by the state, each logit less the mean of its position,

        G = E[sum_n J_n' J_n],

    so that (S - S')' G (S - S') is to first order the expected squared difference of those logits over the next `AHEAD`
    symbols of a word. G is estimated from its random projections, whose mean it is: g = sum_n J_n' e_n with random
    signs e_n (Hutchinson 1990), at `SAMPLED` positions, each a random place in a random word; the largest coordinates
    are kept. It is the observability Gramian of control theory (Moore 1981), of a system that is not linear: most of
    what a state holds is never asked for, and lies outside of it.
    """
    words = generator.integers(len(tokens), size=SAMPLED)
    ends = np.asarray(lengths)[words]
    at = (generator.random(SAMPLED) * ends).astype(np.int64)
    start = torch.from_numpy(vectors[words, at]).requires_grad_()
    state = unflatten_states(model, start)
    projected = torch.zeros(())
    for ahead in range(min(AHEAD, tokens.shape[1])):
        column = tokens[words, np.minimum(at + ahead, ends - 1)]
        logits, state = model.step(torch.from_numpy(column), state)
        signs = torch.from_numpy(generator.integers(2, size=tuple(logits.shape)) * 2.0 - 1.0)
        inside = torch.from_numpy(at + ahead < ends)
        projected = projected + ((logits - logits.mean(-1, keepdim=True)) * signs).sum(-1)[inside].sum()
    (gradients,) = torch.autograd.grad(projected, start)
    if not gradients.isfinite().all():
        return np.empty((vectors.shape[-1], 0))
    _, sizes, axes = np.linalg.svd(gradients.numpy(), full_matrices=False)
    held = np.cumsum(sizes**2)
    kept = min(MOST, int(np.searchsorted(held, SHARE * held[-1])) + 1) if held[-1] > 0 else 0
    result: NDArray[np.float64] = axes[:kept].T * sizes[:kept] / np.sqrt(SAMPLED)
    return result
