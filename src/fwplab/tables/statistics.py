"""Statistics of a few seeds: confidence intervals of rates and accuracies, survival curves, spreads."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate: its lower and its upper end, both in [0, 1].

    With `p = successes / trials`, `n = trials` and `z` the normal quantile of `(1 + confidence) / 2`:

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Without trials it is (0, 1).

    successes: a count, 0 to `trials`.
    trials: a count.
    confidence: the probability that the interval covers the rate, between 0 and 1.

    Raises `ValueError` for arguments out of range.
    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.

    >>> low, high = wilson(3, 3)
    >>> round(low, 3), high
    (0.439, 1.0)
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence}: choose 0 < confidence < 1")
    return _score_interval(successes / trials, trials, confidence) if trials else (0.0, 1.0)


def _score_interval(rate: float, trials: float, confidence: float) -> tuple[float, float]:
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    weight = z**2 / trials
    middle = rate + weight / 2
    reach = z * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    # In theory these two ends are exact. Set them, so that rounding errors cannot turn "100.0 %" into "99.9 %".
    low = 0.0 if rate == 0 else (middle - reach) / (1 + weight)
    high = 1.0 if rate == 1 else (middle + reach) / (1 + weight)
    return low, high


def seeds_interval(right: Sequence[int], strings: Sequence[int], confidence: float = 0.95) -> tuple[float, float]:
    """The confidence interval of the expected accuracy of a new seed.

    The strings of one seed are not independent: a seed tends to label all of them correctly or none. So k seeds with
    n strings each are fewer than kn trials. The interval is Wilson's with the effective number of trials

        kn / max(1, deff) (t_{kn-1} / t_{k-1})^2,    deff = var(p by seeds) / (p (1 - p) / kn),

    where `p` is the pooled rate and `t_m` the quantile of Student's t with m degrees of freedom. It is at least k:
    if all strings of a seed have the same outcome, each seed is one trial.

    right: the number of correct strings of each seed.
    strings: the number of strings of each seed.
    confidence: the probability that the interval covers the accuracy, between 0 and 1.

    For one seed it is Wilson's interval for its own strings, and without strings (0, 1). The interval describes seeds
    like the given ones: a rare kind of seed that is not among them is not covered. For the rate of seeds that fail, use
    `wilson` with the number of seeds.
    Sources: Rao and Scott, Biometrics 48 (1992); Korn and Graubard, Survey Methodology 24 (1998).

    >>> seeds_interval([100, 0, 100], [100, 100, 100]) == wilson(2, 3)  # like three trials
    True
    """
    seeds, trials = len(right), sum(strings)
    if seeds < 2 or trials <= seeds:
        return wilson(sum(right), trials, confidence)
    rate = sum(right) / trials
    between = seeds / (seeds - 1) * sum((r - rate * n) ** 2 for r, n in zip(right, strings, strict=True)) / trials**2
    within = rate * (1 - rate) / trials
    effect = max(1.0, between / within) if within else 1.0
    from scipy.special import stdtrit  # takes a fifth of a second, and help does not need it

    quantile = (1 + confidence) / 2
    few = (stdtrit(trials - 1, quantile) / stdtrit(seeds - 1, quantile)) ** 2
    return _score_interval(rate, max(float(few) * trials / effect, seeds), confidence)


def survival(times: Sequence[float], ended: Sequence[bool]) -> list[tuple[float, float]]:
    """The Kaplan-Meier estimate of a survival curve: pairs of a time and the share that has not ended by then.

        S(t) = prod over t_i <= t of (1 - d_i / n_i)

    Here `d_i` is the number that ended at `t_i`, and `n_i` the number under observation just before.

    times: the time of the end, or of the last observation.
    ended: whether the end was observed at that time (else it is censored).

    Source: Kaplan and Meier, JASA 53 (1958).

    >>> survival([1, 2, 2, 3], [True, True, False, False])
    [(1, 0.75), (2, 0.5)]
    """
    curve, share = [], 1.0
    for time in sorted({time for time, end in zip(times, ended, strict=True) if end}):
        observed = sum(other >= time for other in times)
        endings = sum(other == time and end for other, end in zip(times, ended, strict=True))
        share *= 1 - endings / observed
        curve.append((time, share))
    return curve


def time_until(share: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """The first time at which at least `share` has ended, from a curve of `survival`; None if that is not reached.

    >>> time_until(0.5, [(1, 0.75), (2, 0.5)]), time_until(0.9, [(1, 0.75), (2, 0.5)])
    (2, None)
    """
    return next((time for time, left in curve if 1 - left >= share - 1e-12), None)


@dataclass(frozen=True)
class Spread:
    """The spread of a number over several seeds."""

    lowest: float
    """The lowest value."""
    median: float
    """The median."""
    best: float
    """The highest value."""


def spread(values: Sequence[float]) -> Spread:
    """The spread of values, one for each seed. Raises `ValueError` if there are none.

    >>> spread([0.5, 1.0, 0.75])
    Spread(lowest=0.5, median=0.75, best=1.0)
    """
    if not values:
        raise ValueError("a spread needs at least one seed")
    return Spread(min(values), statistics.median(values), max(values))
