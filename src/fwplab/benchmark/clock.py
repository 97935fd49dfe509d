"""Time, on a machine that others use too: forms take turns, medians are compared, and the core's peak is measured."""

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
"""The name under which `medians` reports the peak, in multiply-adds a second."""


def medians(
    forms: Mapping[str, Callable[[], object]], *, rounds: int, least: float = 0.05, dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """Median seconds of one call of each form, and under `PEAK` the core's multiply-adds a second, median as well.

    In every round the peak and then each form run in their turn, each form for at least `least` seconds, so that what
    disturbs the machine, a clock that changes above all, disturbs all alike. One call of each comes first,
    unmeasured; and one before each turn of a form that is quick (less than `least`), which else would pay for the
    memory that a slow one has given back to the system.
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
                if times[name] and times[name][-1] < least:
                    form()
                times[name].append(seconds(form, least))
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in times.items()} | {PEAK: statistics.median(peaks)}


def speedup(form: Callable[[], object], threads: int, *, rounds: int, least: float = 0.05) -> float:
    """How many times as fast a form is on so many threads as on one: the median of rounds in which they take turns."""
    ratios = []
    for turn in range(rounds + 1):
        times = []
        for count in (1, threads):
            with on_threads(count):
                seconds(form, least)  # threads are made anew, and the system takes a while to spread them
                times.append(seconds(form, least))
        if turn > 0:
            ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def seconds(form: Callable[[], object], least: float) -> float:
    """Seconds of one call, the mean over as many as fill `least` seconds."""
    calls, start = 0, time.perf_counter()
    while True:
        form()
        calls += 1
        passed = time.perf_counter() - start
        if passed >= least:
            return passed / calls


def peak(dtype: torch.dtype = torch.float32, rounds: int = 3_000_000) -> float:
    """Multiply-adds a second of one core, in registers alone; not a number where there is no compiled library."""
    loaded = library.load()
    if isinstance(loaded, library.Missing):
        return float("nan")
    function = loaded.functions.fwplab_multiply_add
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_int64, ctypes.c_int64]
    start = time.perf_counter()
    done = function(int(dtype == torch.float64), rounds)
    return float(done) / (time.perf_counter() - start)


def bandwidth(mebibytes: int = 64, rounds: int = 5) -> float:
    """Bytes a second that one core reads and writes in a copy too large for its caches."""
    source = torch.zeros(mebibytes * 2**18)
    target = torch.empty_like(source)
    best = min(seconds(lambda: target.copy_(source), 0.0) for _ in range(rounds + 1))
    return 2 * source.numel() * source.element_size() / best


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """PyTorch and the kernels on `count` threads, and the process on as many cores (where the system can pin)."""
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
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
