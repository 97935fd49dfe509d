"""The overhead of the engines: 10,000 empty runs on the real engines, and a simulation of 1,000 workers.

    python scripts/engine.py [--runs 10000] [--engines local ray]

An empty run trains nothing and returns a record with 100 checks. With Ray there is a second measurement, with as many
runs in flight as 1,000 workers have, for the memory and the speed of the driver. The simulation uses the driver's times
from the same measurement: to receive a progress message, and to receive and save a record. A record takes at least as
long as it took on the slowest engine. The simulation finds the length of runs at which one driver is always busy with
1,000 workers.
"""

import argparse
import heapq
import logging
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fwplab.engines import engine_named, train_all
from fwplab.mixers import MIXERS
from fwplab.storage.store import Store
from fwplab.training.record import Chance, Check, Member, MemberProgress, Progress, Record, Score, SplitSummary
from fwplab.training.run import RULES, Run
from fwplab.training.trainer import REPORT_EVERY_SECONDS

MANY = 1_000
CHECKS = 100
WINDOWS = (("bin0", 2, 50), ("bin1", 51, 100), ("test", 51, 100), ("test", 101, 200), ("test", 201, 500))


def empty(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    """The task: returns a record as large as a real one at once."""
    checks = tuple(Check(50 * n, 0.1, 0.1, 0.5, 0.1, 0.5, 0.5) for n in range(CHECKS))
    scores = tuple(Score(rule, *window, 1000, 500) for rule in RULES for window in WINDOWS)
    selected: dict[str, int] = dict.fromkeys(RULES, 50)
    member = Member(run.seeds[0], run.learning_rates[0], "budget", 50 * CHECKS, checks, selected, scores)
    splits = tuple(SplitSummary(*window, 1000, 1000, 0) for window in WINDOWS)
    chances = tuple(Chance(*window, 0.0, 0.1) for window in WINDOWS)
    return Record(run, (member,), 17_000, 512, splits, chances, {"torch": "-"}, 0.0)


def runs(number: int) -> list[Run]:
    """`number` different runs."""
    return [Run("parity", MIXERS.load("srwm")(), (seed,)) for seed in range(number)]


class TimedStore(Store):
    """A store that notes the time at which each record was saved."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.times: list[float] = []

    def save(self, record: Record) -> None:
        """As `Store.save`."""
        super().save(record)
        self.times.append(time.perf_counter())


def through(name: str, number: int, workers: int) -> float:
    """Prints the time of empty runs on a real engine with a real store. Returns the runs a second, from the first
    record to the last."""
    Path("/proc/self/clear_refs").write_text("5")  # the largest memory from here on
    with tempfile.TemporaryDirectory() as folder, TimedStore(f"sqlite:///{folder}/records.sqlite") as store:
        started = time.perf_counter()
        train_all(runs(number), store, engine_named(name, workers=workers), task=empty)
    first, last = store.times[0], store.times[-1]
    pace = (number - 1) / (last - first)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory = int(status["VmHWM"].split()[0]) / 1024
    print(f"{pace:.0f} runs/s, {first - started:.1f} s to start, driver {memory:.0f} MiB at most")
    return pace


def crowded(number: int, cores: int) -> float:
    """The same on Ray, with as many runs in flight as `MANY` workers have; the cores here run them one at a time."""
    import ray

    from fwplab.engines.ray import QUEUED_RUNS_PER_SLOT

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    with ray.init("local", num_cpus=cores, **quiet):
        return through("ray", number, MANY * QUEUED_RUNS_PER_SLOT)


@dataclass(frozen=True)
class Costs:
    """The mean seconds of the driver for each kind of work."""

    progress: float
    record: float


def measured_costs(samples: int = 300) -> Costs:
    """Measures the time to unpickle a progress message, and to unpickle and save a record."""
    member = MemberProgress(0, 0.1, 0.1, 0.5, 0.5, None)
    news = pickle.dumps(("progress", Progress("0" * 16, 100, 1000, (member,) * 5)))
    whole = empty(runs(1)[0], folder=Path(), device="cpu", observe=None)
    records = [pickle.dumps(replace(whole, run=run)) for run in runs(samples)]
    with tempfile.TemporaryDirectory() as folder, Store(f"sqlite:///{folder}/records.sqlite") as store:
        progress = statistics.mean(_seconds(lambda: pickle.loads(news)) for _ in range(samples))
        record = statistics.mean(_seconds(lambda each=each: store.save(pickle.loads(each))) for each in records)
    return Costs(progress, record)


def bounded(costs: Costs, paces: dict[str, float]) -> tuple[Costs, str]:
    """The costs, with a record's cost of at least that on the slowest engine, and the name of what bounds it.

    The time on an engine includes pipes or Ray, the workers' share of the cores, and the shared disk, which are not
    part of the driver's own time.
    """
    slowest = min(paces, key=lambda name: paces[name])
    if 1 / paces[slowest] > costs.record:
        return replace(costs, record=1 / paces[slowest]), slowest
    return costs, "unpickling and saving"


def saturation(workers: int, costs: Costs) -> float:
    """The number of records a second at which a driver is always busy."""
    return (1 - workers / REPORT_EVERY_SECONDS * costs.progress) / costs.record


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def simulate(workers: int, run_seconds: float, costs: Costs, rounds: int = 5) -> dict[str, float]:
    """Simulates a driver that handles one message at a time, and workers that send progress and finish runs.

    The workers start at different times. Returns two values over `rounds` rounds of all workers, after two rounds that
    do not count:

    - `busy`: the share of time in which the driver works.
    - `waiting`: the median time that a finished worker waits for its next run, in seconds.
    """
    queue: list[tuple[float, int, str]] = []
    for worker in range(workers):
        offset = run_seconds * worker / workers
        heapq.heappush(queue, (offset + run_seconds, worker, "record"))
        heapq.heappush(queue, (offset + REPORT_EVERY_SECONDS, worker, "progress"))
    free_at = busy = 0.0
    a_round = max(run_seconds, workers * costs.record)
    begin, end, waits = 2 * a_round, (2 + rounds) * a_round, []
    finishes: dict[int, float] = {worker: run_seconds * (1 + worker / workers) for worker in range(workers)}
    while queue and queue[0][0] < end:
        at, worker, kind = heapq.heappop(queue)
        cost = costs.record if kind == "record" else costs.progress
        free_at = max(free_at, at) + cost
        busy += cost if begin < free_at <= end else 0.0
        if kind == "record":
            if free_at > begin:
                waits.append(free_at - at)
            finishes[worker] = free_at + run_seconds
            heapq.heappush(queue, (finishes[worker], worker, "record"))
            heapq.heappush(queue, (free_at + REPORT_EVERY_SECONDS, worker, "progress"))
        elif at + REPORT_EVERY_SECONDS < finishes[worker]:
            heapq.heappush(queue, (at + REPORT_EVERY_SECONDS, worker, "progress"))
    return {"busy": busy / (end - begin), "waiting": statistics.median(waits)}


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    paces = {}
    for name in options.engines:
        print(f"{name}, {options.runs:,} empty runs on {options.workers} workers: ", end="", flush=True)
        paces[name] = through(name, options.runs, options.workers)
    if "ray" in options.engines:
        name = f"ray with the runs of {MANY:,} workers in flight"
        print(f"{name}: ", end="", flush=True)
        paces[name] = crowded(options.runs, options.workers)
    alone = measured_costs()
    costs, bound = bounded(alone, paces)
    print(f"driver: {1e6 * alone.progress:.0f} us a progress, {1e3 * alone.record:.1f} ms a record (SQLite, fsync)")
    print(f"{MANY:,} workers by simulation, {1e3 * costs.record:.1f} ms a record, bounded by {bound}:")
    for seconds in (1, 3, 10, 30, 100, 300):
        state = simulate(MANY, seconds, costs)
        busy, waiting = 100 * state["busy"], state["waiting"]
        print(f"  runs of {seconds:>3} s: driver busy {busy:5.1f} %, a finished worker waits {waiting:.2f} s")
    most = saturation(MANY, costs)
    print(f"it saturates at {most:.0f} records/s, which are runs of {MANY / most:.0f} s on {MANY:,} workers")


if __name__ == "__main__":
    main()
