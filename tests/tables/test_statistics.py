"""Confidence intervals over few seeds."""

import numpy as np
import pytest

from fwplab.tables.statistics import seeds_interval, wilson


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_the_interval_over_seeds_covers_the_mean_in_95_percent(seeds: int) -> None:
    """Each seed has a random accuracy with mean 0.7. A Wilson interval over all strings together rarely covers 0.7."""
    generator, strings, trials = np.random.default_rng(0), 200, 2_000
    covered = pooled = 0
    for _ in range(trials):
        right = generator.binomial(strings, generator.beta(7, 3, seeds))
        low, high = seeds_interval(right.tolist(), [strings] * seeds)
        covered += low <= 0.7 <= high
        low, high = wilson(int(right.sum()), seeds * strings)
        pooled += low <= 0.7 <= high
    assert 0.93 < covered / trials <= 1
    assert pooled / trials < 0.5


def test_the_interval_of_equal_seeds_depends_on_the_number_of_seeds_and_strings() -> None:
    few, many = seeds_interval([100] * 3, [100] * 3), seeds_interval([100] * 40, [100] * 40)
    assert few[1] == many[1] == 1
    assert few[0] < many[0] < 1
    assert many[0] == pytest.approx(wilson(4_000, 4_000)[0], abs=1e-3)


def test_intervals_of_one_seed_or_no_strings() -> None:
    assert seeds_interval([96], [100]) == wilson(96, 100)
    assert seeds_interval([0, 0], [0, 0]) == (0, 1)
    assert seeds_interval([0, 0], [50, 50])[0] == 0
