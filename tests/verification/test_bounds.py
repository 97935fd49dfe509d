"""The bounds of a rule hold for all weights, and an optimiser reaches them."""

import itertools

import pytest
import torch

from fwplab.verification.bounds import (
    LIMITS,
    agreement_bound,
    best_agreement,
    best_agreement_of_words,
    eigenvalue_range,
)


@pytest.mark.parametrize("longest", range(1, 9))
def test_the_bound_is_the_maximum_over_all_label_sequences(longest: int) -> None:
    parity = [place % 2 for place in range(longest)]
    for changes in range(longest):
        best = max(
            sum(a == b for a, b in zip(word, parity, strict=True))
            for word in itertools.product((0, 1), repeat=longest)
            if sum(a != b for a, b in itertools.pairwise(word)) <= changes
        )
        assert agreement_bound(changes, longest) == pytest.approx(best / longest)
    assert agreement_bound(None, longest) == 1


@pytest.mark.parametrize("name", LIMITS)
def test_an_optimiser_reaches_and_never_exceeds_the_eigenvalue_bounds(name: str) -> None:
    limit = LIMITS[name]
    low, high = eigenvalue_range(limit.mixer, steps=150)
    rounding = 4 * torch.finfo(torch.float32).eps
    assert limit.low - rounding <= low <= limit.low + 0.01
    assert limit.high - 0.01 <= high <= limit.high + rounding


@pytest.mark.parametrize("name", LIMITS)
def test_an_optimiser_reaches_and_never_exceeds_the_bound_on_parity(name: str) -> None:
    limit = LIMITS[name]
    assert best_agreement(limit, 5, heads=1, restarts=2) == pytest.approx(agreement_bound(limit.changes(1), 5))


def test_only_the_signed_rule_learns_parity_on_all_words() -> None:
    found = {name: best_agreement_of_words(limit.mixer, 6, restarts=1, steps=200) for name, limit in LIMITS.items()}
    assert found["signed delta-net"] == 1
    assert 0.5 <= found["delta-net"] < 1
    assert 0.5 <= found["linear-transformer"] < 1
