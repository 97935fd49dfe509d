"""Coordinates of a model's state in which states are close if they lead to similar later logits."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fwplab.extraction.mealy import Integers
from fwplab.model import Model
from fwplab.probes.words import unflatten_states

SHARE, MOST = 0.99, 32
"""The share of the trace of G that the coordinates keep, and the most coordinates."""
SAMPLED, AHEAD = 1_000, 10
"""The number of positions at which the gradient is computed, and how many later symbols count."""


def observable(
    model: Model, vectors: NDArray[np.float64], tokens: Integers, lengths: Sequence[int], generator: np.random.Generator
) -> NDArray[np.float64]:
    """A matrix `[numbers, coordinates]` that maps states to coordinates in which distance means different later logits.

    With J_n the derivative of the logits at the n-th next symbol by the state, where the mean of each position's logits
    is subtracted,

        G = E[sum_n J_n' J_n].

    To first order, (S - S')' G (S - S') is the expected squared difference of these logits over the next `AHEAD`
    symbols of a word. G is estimated by random projections g = sum_n J_n' e_n with random signs e_n, because E[g g'] =
    G (Hutchinson 1990). They are computed at `SAMPLED` random positions of random words. The largest coordinates are
    kept. G is the observability Gramian of control theory (Moore 1981), here of a nonlinear system. Most of what a
    state contains does not affect later logits, and is not visible in these coordinates.

    vectors: the states before each symbol and after the last, `[words, time + 1, numbers]`.
    tokens: the symbols, `[words, time]`.
    lengths: the length of each word.

    There are no coordinates if no logit depends on the state, or if a derivative is not finite.
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
