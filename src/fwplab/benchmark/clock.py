"""Timing on a shared machine: the candidates take turns, and the medians of their times are compared."""

import ctypes
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from fwplab.ops.cpu import library

PEAK = "peak"
"""The name under which `medians` reports the core's peak, in multiply-adds a second."""


def medians(
    forms: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    min_seconds: float = 0.05,
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """The median seconds of one call of each form, and under `PEAK` the median of the core's peak.

    In every round, the peak and all forms are measured in turn, so that disturbances, such as a changing clock rate,
    affect all of them alike. Each form is called once before the first round. A form that is faster than `min_seconds`
    is also called once before each turn: a slow form may have returned its memory to the system.

    forms: the candidates by name.
    rounds: the number of rounds.
    min_seconds: the least time of one turn; a fast form is called repeatedly.
    dtype: the type of the multiply-adds, float32 or float64.
    """
    for form in forms.values():
        form()
    times: dict[str, list[float]] = {name: [] for name in forms}
    peaks: list[float] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            peaks.append(peak(dtype))
            for name, form in forms.items():
                if times[name] and times[name][-1] < min_seconds:
                    form()
                times[name].append(seconds_per_call(form, min_seconds))
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in times.items()} | {PEAK: statistics.median(peaks)}


def speedup(form: Callable[[], object], threads: int, *, rounds: int, min_seconds: float = 0.05) -> float:
    """The speed of a form on several threads relative to one thread: the median of rounds with both in turn."""
    ratios = []
    for turn in range(rounds + 1):
        times = []
        for count in (1, threads):
            with on_threads(count):
                seconds_per_call(form, min_seconds)  # new threads take a while until the system spreads them over cores
                times.append(seconds_per_call(form, min_seconds))
        if turn > 0:
            ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def seconds_per_call(form: Callable[[], object], min_seconds: float) -> float:
    """The mean seconds of one call, over as many calls as take `min_seconds` together."""
    calls, start = 0, time.perf_counter()
    while True:
        form()
        calls += 1
        passed = time.perf_counter() - start
        if passed >= min_seconds:
            return passed / calls


def peak(dtype: torch.dtype = torch.float32, rounds: int = 3_000_000) -> float:
    """The multiply-adds a second of one core on values in registers; nan without the compiled library."""
    loaded = library.load()
    if isinstance(loaded, library.Missing):
        return float("nan")
    function = loaded.functions.fwplab_multiply_add
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_int64, ctypes.c_int64]
    start = time.perf_counter()
    done = function(int(dtype == torch.float64), rounds)
    return float(done) / (time.perf_counter() - start)


def bandwidth(mebibytes: int = 64, rounds: int = 5) -> float:
    """The bytes a second that one core reads and writes in a copy that is larger than its caches."""
    source = torch.zeros(mebibytes * 2**18)
    target = torch.empty_like(source)
    best = min(seconds_per_call(lambda: target.copy_(source), 0.0) for _ in range(rounds + 1))
    return 2 * source.numel() * source.element_size() / best


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Sets PyTorch and the kernels to `count` threads, and pins the process to as many cores if the system can."""
    before = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        torch.set_num_threads(count)
        if cores:
            os.sched_setaffinity(0, sorted(cores)[-count:])
        yield
    finally:
        torch.set_num_threads(before)
        if cores:
            os.sched_setaffinity(0, cores)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
