"""Benchmarks of the training step of a model, and of training several seeds at the same time."""

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
from fwplab.data.splits import SplitSpec
from fwplab.mixers import MIXERS
from fwplab.model.model import ModelSpec
from fwplab.training.run import Protocol, Run
from fwplab.training.trainer import Training

MODELS = ("linear-transformer", "delta-net", "recurrent-delta", "srwm", "e-lstm", "lstm")


@dataclass(frozen=True)
class Step:
    """The time of one training step on one thread: batch, forward, loss, backward, Adam."""

    model: str
    """The name of the mixer."""
    hidden: int
    """The width of the layers."""
    layers: int
    """The number of layers."""
    batch: int
    """The batch size."""
    milliseconds: float
    """The time of a step."""
    ratio_tuned_loop: float
    """The time with the tuned PyTorch loop in the mixer over this time; nan if the mixer has no operator of fwplab."""


@dataclass(frozen=True)
class Seeds:
    """The speed of training several seeds at the same time."""

    model: str
    """The name of the mixer."""
    batch: int
    """The batch size of each member."""
    processes: int
    """The number of processes, each on its own core."""
    members: int
    """The number of members in each process."""
    seed_steps_per_second: float
    """Training steps a second, added over all members of all processes."""
    ratio: float
    """The same, relative to one member in one process."""


def run_of(model: str, seeds: int = 1, batch: int = 64, hidden: int = 32, layers: int = 2) -> Run:
    """A run on parity with training strings of length 2 to 50, as in the paper. model: the name of the mixer."""
    splits = SplitSpec(train_strings=2000, validation_strings=50, test_lengths=())
    return Run(
        "parity",
        MIXERS.load(model)(),
        seeds=tuple(range(seeds)),
        model=ModelSpec(hidden=hidden, layers=layers, heads=4),
        protocol=Protocol(batch_size=batch, splits=splits),
    )


def measure_step(model: str, rounds: int = 5, min_seconds: float = 0.3) -> list[Step]:
    """Measures the training step of one member, with the default implementation and the tuned loop in turn.

    model: the name of the mixer.
    rounds: the number of rounds of which the medians are taken.
    min_seconds: the least time of one measurement.
    """
    run = run_of(model)
    own, loop = Training(run, "cpu"), Training(run, "cpu")

    def with_loop() -> None:
        with ops.prefer("loop", "reference"):
            loop.step()

    with clock.on_threads(1):
        times = clock.medians({"own": own.step, "loop": with_loop}, rounds=rounds, min_seconds=min_seconds)
    ratio = math.nan if model == "lstm" else times["loop"] / times["own"]
    spec = run.model
    return [Step(model, spec.hidden, spec.layers, run.protocol.batch_size, 1000 * times["own"], ratio)]


def measure_seeds(model: str, batch: int, seconds: float = 2.0) -> list[Seeds]:
    """Measures one process and one process a core, with one and with four members each.

    model: the name of the mixer.
    batch: the batch size of each member.
    seconds: the time of each measurement.
    """
    rows: list[Seeds] = []
    for processes in sorted({1, clock.cores()}):
        for members in (1, 4):
            rate = seed_steps(run_of(model, members, batch), processes, seconds)
            rows.append(
                Seeds(model, batch, processes, members, rate, rate / rows[0].seed_steps_per_second if rows else 1.0)
            )
    return rows


def seed_steps(run: Run, processes: int, seconds: float) -> float:
    """The training steps a second of `processes` processes that all train `run`, added over all members."""
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
