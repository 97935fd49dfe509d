"""Intervals over seeds."""

import numpy as np
import pytest

from fwplab.tables.statistics import seeds_interval, wilson


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_the_interval_over_seeds_holds_the_mean_nineteen_times_in_twenty(seeds: int) -> None:
    """Accuracies of seeds drawn around 0.7, strings drawn by them; Wilson's interval of the pool misses most."""
    drawn, strings, trials = np.random.default_rng(0), 200, 2_000
    held = pooled = 0
    for _ in range(trials):
        right = drawn.binomial(strings, drawn.beta(7, 3, seeds))
        low, high = seeds_interval(right.tolist(), [strings] * seeds)
        held += low <= 0.7 <= high
        low, high = wilson(int(right.sum()), seeds * strings)
        pooled += low <= 0.7 <= high
    assert 0.93 < held / trials <= 1
    assert pooled / trials < 0.5


def test_seeds_that_agree_leave_the_strings_doubt() -> None:
    few, many = seeds_interval([100] * 3, [100] * 3), seeds_interval([100] * 40, [100] * 40)
    assert few[1] == many[1] == 1
    assert few[0] < many[0] < 1
    assert many[0] == pytest.approx(wilson(4_000, 4_000)[0], abs=1e-3)


def test_one_seed_or_no_string() -> None:
    assert seeds_interval([96], [100]) == wilson(96, 100)
    assert seeds_interval([0, 0], [0, 0]) == (0, 1)
    assert seeds_interval([0, 0], [50, 50])[0] == 0
