"""The simulation of a driver in `scripts/engine.py`: its costs, and workers that wait for it."""

from itertools import cycle

import pytest
from scripts import engine
from scripts.engine import Costs, bounded, measured_costs, saturation, simulate


def test_the_slower_of_engine_and_store_bounds_the_cost_of_a_record() -> None:
    alone = Costs(progress=1e-5, record=0.012)
    costs, bound = bounded(alone, {"local": 52.0, "ray": 50.0})
    assert (costs, bound) == (Costs(1e-5, 1 / 50), "ray")
    assert saturation(1_000, costs) <= 50
    assert bounded(alone, {"local": 100.0}) == (alone, "unpickling and saving")


def test_costs_are_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """One slow fsync in three adds a third of its time to the mean cost. A median would ignore it."""
    seconds = cycle([0.001, 0.001, 0.1])
    monkeypatch.setattr(engine, "_seconds", lambda _: next(seconds))
    costs = measured_costs(samples=3)
    assert costs.progress == costs.record == pytest.approx(0.034)


def test_workers_wait_for_a_saturated_driver() -> None:
    """The driver needs 2 s for ten records of 0.2 s each, while a worker's run takes 1 s."""
    state = simulate(10, 1.0, Costs(progress=0.0, record=0.2))
    assert state == pytest.approx({"busy": 1.0, "waiting": 1.0}, rel=0.05)
