"""What the engines cost: 10,000 empty runs through the real ones, and 1,000 workers by simulation.

    python benchmarks/engine.py [--runs 10000] [--engines local ray]

An empty run trains nothing and returns a record with 100 looks at the bins. With Ray they go through once more with
as many runs in flight as 1,000 workers have, for the driver's memory and pace. The simulation takes the driver's own
times (to hear a progress, to take and to save a record) from measurements of this very run, a record's to be no less
than the slowest engine took for one, and asks at which length of a run a single driver with 1,000 workers has no time
left.
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
from fwplab.record import Chance, Check, Member, MemberProgress, Progress, Record, Score, SplitSummary
from fwplab.run import RULES, Run
from fwplab.store import Store
from fwplab.trainer import REPORT_EVERY_SECONDS

MANY = 1_000
CHECKS = 100
WINDOWS = (("bin0", 2, 50), ("bin1", 51, 100), ("test", 51, 100), ("test", 101, 200), ("test", 201, 500))


def empty(run: Run, *, folder: Path, device: str, observe: Callable[[Progress], None] | None) -> Record:
    """A record as large as a real one, at once."""
    checks = tuple(Check(50 * n, 0.1, 0.1, 0.5, 0.1, 0.5, 0.5) for n in range(CHECKS))
    scores = tuple(Score(rule, *window, 1000, 500) for rule in RULES for window in WINDOWS)
    selected: dict[str, int] = dict.fromkeys(RULES, 50)
    member = Member(run.seeds[0], run.learning_rates[0], "budget", 50 * CHECKS, checks, selected, scores)
    splits = tuple(SplitSummary(*window, 1000, 1000, 0) for window in WINDOWS)
    chances = tuple(Chance(*window, 0.0, 0.1) for window in WINDOWS)
    return Record(run, (member,), 17_000, 512, splits, chances, {"torch": "-"}, 0.0)


def runs(number: int) -> list[Run]:
    """As many different runs."""
    return [Run("parity", MIXERS.load("srwm")(), (seed,)) for seed in range(number)]


class TimedStore(Store):
    """Notes when each record was there."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.times: list[float] = []

    def save(self, record: Record) -> None:
        """As `Store.save`."""
        super().save(record)
        self.times.append(time.perf_counter())


def through(name: str, number: int, workers: int) -> float:
    """Prints what empty runs take through a real engine and into a real store, and returns how many there are a
    second, from the first record to the last."""
    Path("/proc/self/clear_refs").write_text("5")  # the most memory, from here on
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
    """The same through Ray with as many runs in flight as for `MANY` workers, which so few cores do one by one."""
    import ray

    from fwplab.engines.ray import QUEUED_RUNS_PER_SLOT

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    with ray.init("local", num_cpus=cores, **quiet):
        return through("ray", number, MANY * QUEUED_RUNS_PER_SLOT)


@dataclass(frozen=True)
class Costs:
    """Mean seconds of the driver for each thing that it does."""

    progress: float
    record: float


def measured_costs(samples: int = 300) -> Costs:
    """Unpickling a progress; unpickling and saving a record."""
    member = MemberProgress(0, 0.1, 0.1, 0.5, 0.5, None)
    news = pickle.dumps(("progress", Progress("0" * 16, 100, 1000, (member,) * 5)))
    whole = empty(runs(1)[0], folder=Path(), device="cpu", observe=None)
    records = [pickle.dumps(replace(whole, run=run)) for run in runs(samples)]
    with tempfile.TemporaryDirectory() as folder, Store(f"sqlite:///{folder}/records.sqlite") as store:
        progress = statistics.mean(_seconds(lambda: pickle.loads(news)) for _ in range(samples))
        record = statistics.mean(_seconds(lambda each=each: store.save(pickle.loads(each))) for each in records)
    return Costs(progress, record)


def bounded(costs: Costs, paces: dict[str, float]) -> tuple[Costs, str]:
    """The costs with a record's no less than the slowest engine took for one, and what it is bounded by.

    An engine's time has what the driver's measured alone does not: pipes or Ray, the workers' part of the cores, and
    the disk that they all write to.
    """
    slowest = min(paces, key=lambda name: paces[name])
    if 1 / paces[slowest] > costs.record:
        return replace(costs, record=1 / paces[slowest]), slowest
    return costs, "unpickling and saving"


def saturation(workers: int, costs: Costs) -> float:
    """Records a second that leave a driver no time."""
    return (1 - workers / REPORT_EVERY_SECONDS * costs.progress) / costs.record


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def simulate(workers: int, run_seconds: float, costs: Costs, rounds: int = 5) -> dict[str, float]:
    """A driver that serves one message at a time, workers that report and finish; all begin at different times.

    `busy`: the driver's share of time at work. `waiting`: how long a finished worker waits for its next run, in
    seconds, the median. Both over `rounds` rounds of all workers, after two that are not counted: in the first nothing
    has finished yet.
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
