"""The whole training step of a model, and how many seeds a machine trains at once."""

import math
import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from fwplab import ops
from fwplab.benchmark import clock
from fwplab.languages.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model import ModelSpec
from fwplab.run import Protocol, Run
from fwplab.trainer import Training

MODELS = ("linear-transformer", "delta-net", "recurrent-delta", "srwm", "e-lstm", "lstm")


@dataclass(frozen=True)
class Step:
    """One step on one thread: batch, forward, loss, backward, Adam. `ratio_tuned_loop`: the same step with the tuned
    PyTorch loop in the mixer over this one, nan where the mixer has no rule of ours."""

    model: str
    hidden: int
    layers: int
    batch: int
    milliseconds: float
    ratio_tuned_loop: float


@dataclass(frozen=True)
class Seeds:
    """Members that learn at the same time: `processes`, each on its own core and with `members` stacked in one
    program; `ratio` is the number of seed-steps a second over that of one member in one process."""

    model: str
    batch: int
    processes: int
    members: int
    seed_steps_per_second: float
    ratio: float


def run_of(model: str, seeds: int = 1, batch: int = 64, hidden: int = 32, layers: int = 2) -> Run:
    """Parity, strings of length 2 to 50, as the paper trains."""
    splits = SplitSpec(train_strings=2000, validation_strings=50, test_lengths=())
    return Run(
        "parity",
        MIXERS.load(model)(),
        seeds=tuple(range(seeds)),
        model=ModelSpec(hidden=hidden, layers=layers, heads=4),
        protocol=Protocol(batch_size=batch, splits=splits),
    )


def measure_step(model: str, rounds: int = 5, least: float = 0.3) -> list[Step]:
    """The step of one member; both forms see the same batches, in turns."""
    run = run_of(model)
    own, loop = Training(run, "cpu"), Training(run, "cpu")

    def with_loop() -> None:
        with ops.prefer("loop", "reference"):
            loop.step()

    with clock.on_threads(1):
        times = clock.medians({"own": own.step, "loop": with_loop}, rounds=rounds, least=least)
    ratio = math.nan if model == "lstm" else times["loop"] / times["own"]
    spec = run.model
    return [Step(model, spec.hidden, spec.layers, run.protocol.batch_size, 1000 * times["own"], ratio)]


def measure_seeds(model: str, batch: int, seconds: float = 2.0) -> list[Seeds]:
    """One process or one a core, a member or four in each."""
    rows: list[Seeds] = []
    for processes in sorted({1, clock.cores()}):
        for members in (1, 4):
            rate = seed_steps(run_of(model, members, batch), processes, seconds)
            rows.append(
                Seeds(model, batch, processes, members, rate, rate / rows[0].seed_steps_per_second if rows else 1.0)
            )
    return rows


def seed_steps(run: Run, processes: int, seconds: float) -> float:
    """Seed-steps a second of so many processes that all train `run` at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    workers = [
        context.Process(target=_work, args=(run, cores[-1 - place : len(cores) - place], barrier, seconds, results))
        for place in range(processes)
    ]
    for worker in workers:
        worker.start()
    rates: list[float] = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return sum(rates)


def _work(run: Run, cores: list[int], barrier: Barrier, seconds: float, results: Any) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(1)
    training = Training(run, "cpu")
    for _ in range(3):
        training.step()
    barrier.wait()
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        training.step()
        steps += 1
    results.put(steps * len(run.seeds) / (time.perf_counter() - start))
