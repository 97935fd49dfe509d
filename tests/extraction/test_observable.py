"""Observable coordinates of a state: those that later logits depend on."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.clusters import cluster
from fwplab.extraction.extract import sample_words
from fwplab.extraction.mealy import mealy_of
from fwplab.extraction.observable import AHEAD, observable
from fwplab.languages import load_language


class Linear(nn.Module):
    """A model whose logits are a linear map of a constant state."""

    def __init__(self, read: Tensor) -> None:
        super().__init__()
        self.read = read

    def initial_state(self, batch: int) -> list[tuple[Tensor, ...]]:
        return [(torch.zeros(batch, 2, 2),), (torch.zeros(batch, 1),)]

    def step(self, tokens: Tensor, state: list[tuple[Tensor, ...]]) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        return torch.cat([part.flatten(1) for layer in state for part in layer], 1) @ self.read.T, state


def test_the_distance_is_the_expected_difference_of_later_logits() -> None:
    generator = np.random.default_rng(0)
    read = torch.from_numpy(generator.normal(size=(3, 5))).float()
    model: Any = Linear(read)
    tokens, vectors = np.zeros((4, 30), dtype=np.int64), generator.normal(size=(4, 31, 5))
    axes = observable(model, vectors, tokens, [30] * 4, np.random.default_rng(1))
    assert axes.shape == (5, 2)  # three logits have two independent differences
    centred = (read - read.mean(0)).double().numpy()
    ends = np.arange(30)  # a position near the end has fewer later logits
    gram = centred.T @ centred * np.minimum(AHEAD, 30 - ends).mean()
    assert np.abs(axes @ axes.T - gram).max() < 0.2 * np.abs(gram).max()
    unseen = np.linalg.svd(centred)[2][2:]
    assert np.abs(unseen @ axes).max() < 1e-4


def test_there_are_no_coordinates_if_no_logit_depends_on_the_state() -> None:
    model: Any = Linear(torch.zeros(3, 5))
    axes = observable(model, np.ones((2, 6, 5)), np.zeros((2, 5), dtype=np.int64), [5, 3], np.random.default_rng(0))
    assert axes.shape == (5, 0)


class UnusedState(nn.Module):
    """A model with parity in one number of its state. No logit depends on the other three, larger numbers."""

    def initial_state(self, batch: int) -> list[tuple[Tensor]]:
        return [(torch.tensor([[-1.0, 0.0, 0.0, 0.0]]).repeat(batch, 1),)]

    def step(self, tokens: Tensor, state: list[tuple[Tensor]]) -> tuple[Tensor, list[tuple[Tensor]]]:
        parity, walks = state[0][0].split([1, 3], 1)
        parity = parity * (1 - 2 * tokens[:, None])
        walks = walks + torch.stack([100 * tokens, -70 * (1 - tokens), 50 * tokens - 20], 1)
        return torch.cat([parity, -parity], 1), [(torch.cat([parity, walks], 1),)]

    def forward(self, tokens: Tensor) -> Tensor:
        state, logits_so_far = self.initial_state(len(tokens)), []
        for column in tokens.unbind(1):
            logits, state = self.step(column, state)
            logits_so_far.append(logits)
        return torch.stack(logits_so_far, 1)


@pytest.mark.parametrize("enough", [0.999, 1.0])
def test_clustering_ignores_numbers_that_no_logit_depends_on(enough: float) -> None:
    generator = np.random.default_rng(0)
    model: Any = UnusedState()
    words = sample_words(load_language("parity"), [20, 30], 100, generator)
    found = cluster(BlackBox(model, mealy_of(load_language("parity"), 2)), words, 2, generator, enough)
    assert (len(found.machine), found.clusters, found.complete) == (2, 2, True)
