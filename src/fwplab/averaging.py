"""Averages of the weights over the steps of training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from fwplab.population import Population


class Average:
    """The exponential moving average of every member's weights (Polyak averaging).

    After step t, `a_t = a_{t-1} + max(1 - decay, 1 / t) (w_t - a_{t-1})`: the plain mean of the first `1 / (1 - decay)`
    steps, from then on a mean in which a step weighs `decay` times as much as the next.

    decay: in (0, 1).
    """

    def __init__(self, population: Population, decay: float) -> None:
        self.decay = decay
        self.vectors = population.vectors.detach().clone()

    def update(self, population: Population, step: int) -> None:
        """Takes the weights after `step` steps into the average."""
        self.vectors.lerp_(population.vectors.detach(), max(1 - self.decay, 1 / step))

    def keep(self, members: Sequence[int]) -> None:
        """Removes all members but these, as `Population.keep` does."""
        self.vectors = self.vectors[list(members)]

    @contextmanager
    def in_place(self, population: Population) -> Iterator[None]:
        """Replaces the population's weights by their averages for a while."""
        with torch.no_grad():
            learned = population.vectors.clone()
            population.vectors.copy_(self.vectors)
        try:
            yield
        finally:
            with torch.no_grad():
                population.vectors.copy_(learned)
