"""What a handful of seeds can say: the interval of a rate, and the spread of accuracies."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate, lowest and highest, both in [0, 1].

    With `p = successes / trials`, `n = trials` and `z` the normal quantile of `(1 + confidence) / 2`:

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    No trials say nothing: (0, 1). Raises `ValueError` for counts or a confidence out of range.
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
    # The two ends that are exact in theory are made so: "100.0 %" must not depend on a rounding.
    low = 0.0 if rate == 0 else (middle - reach) / (1 + weight)
    high = 1.0 if rate == 1 else (middle + reach) / (1 + weight)
    return low, high


def seeds_interval(right: Sequence[int], strings: Sequence[int], confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the accuracy to be expected of a new seed, from each seed's right strings of how many.

    Strings of one seed are right together or wrong together, so that k seeds of n strings are not kn trials. Wilson's
    interval is taken at the effective number, with `p` the pooled rate and `t_m` the quantile of Student's t at m:

        kn / max(1, deff) (t_{kn-1} / t_{k-1})^2,    deff = var(p by seeds) / (p (1 - p) / kn),

    and at k where that is more: with all strings of a seed alike, each seed is one trial. One seed tells of its own
    strings only: their plain Wilson interval. No string says nothing: (0, 1). New seeds are taken to be like these:
    where all agree they show no spread, and a rare kind of seed that is not among them is not in the interval; how
    often seeds fail altogether is for the `wilson` interval of their number.
    Sources: Rao and Scott, Biometrics 48 (1992); Korn and Graubard, Survey Methodology 24 (1998).

    >>> seeds_interval([100, 0, 100], [100, 100, 100]) == wilson(2, 3)  # no better known than three tosses
    True
    """
    seeds, trials = len(right), sum(strings)
    if seeds < 2 or trials <= seeds:
        return wilson(sum(right), trials, confidence)
    rate = sum(right) / trials
    between = seeds / (seeds - 1) * sum((r - rate * n) ** 2 for r, n in zip(right, strings, strict=True)) / trials**2
    within = rate * (1 - rate) / trials
    effect = max(1.0, between / within) if within else 1.0
    quantile = (1 + confidence) / 2
    few = (stdtrit(trials - 1, quantile) / stdtrit(seeds - 1, quantile)) ** 2
    return _score_interval(rate, max(float(few) * trials / effect, seeds), confidence)


def survival(times: Sequence[float], ended: Sequence[bool]) -> list[tuple[float, float]]:
    """The Kaplan-Meier estimate of the share that has not ended, after each time at which one ended.

    `S(t) = prod over t_i <= t of (1 - d_i / n_i)`, `d_i` the endings at `t_i` and `n_i` those still watched then; a run
    that was not seen to end (`ended` false) is watched until its time. Source: Kaplan and Meier, JASA 53 (1958).

    >>> survival([1, 2, 2, 3], [True, True, False, False])
    [(1, 0.75), (2, 0.5)]
    """
    curve, share = [], 1.0
    for time in sorted({time for time, end in zip(times, ended, strict=True) if end}):
        watched = sum(other >= time for other in times)
        endings = sum(other == time and end for other, end in zip(times, ended, strict=True))
        share *= 1 - endings / watched
        curve.append((time, share))
    return curve


def time_until(share: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """The first time at which at least `share` has ended by a curve of `survival`; None if that is not reached.

    >>> time_until(0.5, [(1, 0.75), (2, 0.5)]), time_until(0.9, [(1, 0.75), (2, 0.5)])
    (2, None)
    """
    return next((time for time, left in curve if 1 - left >= share - 1e-12), None)


@dataclass(frozen=True)
class Spread:
    """The lowest, the median and the best of several seeds."""

    lowest: float
    median: float
    best: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of one number a seed; `ValueError` for no seed.

    >>> spread([0.5, 1.0, 0.75])
    Spread(lowest=0.5, median=0.75, best=1.0)
    """
    if not values:
        raise ValueError("no seed, no spread")
    return Spread(min(values), statistics.median(values), max(values))
