"""The benchmarks of `fwplab bench`, in two sizes, and their report."""

import dataclasses
import datetime
import math
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fwplab import ops
from fwplab.benchmark import clock, gpu, operators, streaming, training
from fwplab.benchmark.gpu import GpuRow, GpuSeeds
from fwplab.benchmark.operators import Case, Row
from fwplab.benchmark.streaming import Stream
from fwplab.benchmark.training import Seeds, Step
from fwplab.errors import UserError
from fwplab.training.environment import environment

Result = Row | Stream | Step | Seeds | GpuRow | GpuSeeds


@dataclass(frozen=True)
class Suite:
    """A list of benchmarks."""

    cases: tuple[Case, ...]
    """The cases of operators."""
    rounds: int
    """The number of rounds of which medians are taken."""
    streams: tuple[Case, ...]
    """The cases of streaming."""
    stream_lengths: tuple[int, ...]
    """The lengths for streaming."""
    models: tuple[str, ...]
    """The mixers whose training step is measured."""
    seeds: tuple[str, ...]
    """The mixers for which several seeds are trained at the same time."""
    seed_batches: tuple[int, ...]
    """The batch sizes for that."""


FULL = Suite(
    operators.CASES,
    7,
    tuple(Case(operator, 1, 16) for operator in operators.OPERATORS if operator in ops.RULES),
    (1_000, 10_000, 100_000),
    training.MODELS,
    ("recurrent-delta",),
    (16, 64),
)
QUICK = Suite(operators.QUICK, 3, (Case("recurrent_delta", 1, 16),), (10_000,), ("recurrent-delta",), (), ())


def work(suite: Suite, only: tuple[str, ...], backend: str) -> Iterator[tuple[str, Callable[[], Sequence[Result]]]]:
    """The benchmarks of a suite: pairs of a name and a function that runs it.

    only: the operators to measure; empty for everything, which includes training.
    backend: the implementation to measure, or "auto" for the default one.

    Raises `UserError` if an operator has no such backend.
    """
    for case in suite.cases:
        if not only or case.operator in only:
            own = case.backend(backend)
            yield case.name, partial(operators.measure, case, rounds=suite.rounds, backend=own)
    for case in suite.streams:
        if not only or case.operator in only:
            yield f"streaming {case.operator}", partial(streaming.measure, case, suite.stream_lengths, backend=backend)
    if only:
        return
    for model in suite.models:
        yield f"training step of {model}", partial(training.measure_step, model, rounds=suite.rounds)
    for model in suite.seeds:
        for batch in suite.seed_batches:
            yield f"seeds of {model} at batch {batch}", partial(training.measure_seeds, model, batch)


def gpu_work(
    device: str, only: tuple[str, ...], backend: str, *, quick: bool, published: Path | None = None
) -> Iterator[tuple[str, Callable[[], Sequence[Result]]]]:
    """As `work`, on a GPU: the operators, and populations of three models.

    quick: whether to run fewer cases and rounds, without `torch.compile`.
    published: a clone of the published code, for its CUDA kernels.
    """
    for case in gpu.CASES:
        if (not only or case.operator in only) and (not quick or case in gpu.QUICK):
            rounds, own = 3 if quick else 7, backend if backend == "auto" else case.backend(backend, device)
            options: dict[str, Any] = {"rounds": rounds, "backend": own, "compiled": not quick, "published": published}
            yield case.name, partial(gpu.measure, case, device, **options)
    for model in () if only else ("linear-transformer", "recurrent-delta", "srwm"):
        yield f"populations of {model}", partial(gpu.measure_seeds, model, device, 64)


def machine(device: str = "cpu") -> dict[str, Any]:
    """The date, the machine, its speed, and the versions."""
    used = ops.info()
    return {
        "date": datetime.date.today().isoformat(),
        **environment(device),
        "cores": clock.cores(),
        "peak_multiply_adds_per_second": max(clock.peak() for _ in range(3)),
        "copy_bytes_per_second": clock.bandwidth(),
        "kernels": {"auto": used["auto"], "variant": used["compiled"]["variant"], "why": used["compiled"]["why"]},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


KINDS: dict[str, type[Row] | type[Stream] | type[Step] | type[Seeds] | type[GpuRow] | type[GpuSeeds]] = {
    "rows": Row,
    "streaming": Stream,
    "training": Step,
    "seeds": Seeds,
    "gpu_rows": GpuRow,
    "gpu_seeds": GpuSeeds,
}


NAMES = ("operator", "model", "heads", "width", "hidden", "layers", "batch", "length", "processes", "members")
"""The fields of a result that say what was measured; its other numbers are measurements."""

SPEEDS = ("peak_multiply_adds_per_second", "copy_bytes_per_second")


def report(results: list[Result], device: str = "cpu") -> dict[str, Any]:
    """A benchmark as JSON values: the machine, and the results by kind, with null for nan."""
    return {"machine": machine(device), **_tables(results)}


def _tables(results: list[Result]) -> dict[str, list[dict[str, Any]]]:
    return {name: [_plain(result) for result in results if isinstance(result, kind)] for name, kind in KINDS.items()}


def results_of(report: dict[str, Any]) -> list[Result]:
    """The results in a report. Reports without GPU results can be read too."""
    results: list[Result] = []
    for table, kind in KINDS.items():
        for row in report.get(table, ()) if table.startswith("gpu") else report[table]:
            values: dict[str, Any] = {
                name: math.nan if value is None and name != "error" else value for name, value in row.items()
            }
            results.append(kind(**values))
    return results


def medians(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The report with the median of each number over several reports, as one run on a shared machine is not reliable.

    Raises `UserError` if the reports have different results, machines or versions of PyTorch.
    """
    machines = [one["machine"] for one in reports]
    runs = [{_name(result): result for result in results_of(one)} for one in reports]
    if any(run.keys() != runs[0].keys() for run in runs):
        raise UserError("these benchmarks measured different things, so they have no medians")
    if len({(one["device"], one["torch"], one["cores"]) for one in machines}) > 1:
        raise UserError("these benchmarks are of different machines or versions of PyTorch")
    speeds = {name: statistics.median(one[name] for one in machines) for name in SPEEDS}
    dates = dict.fromkeys((min(one["date"] for one in machines), max(one["date"] for one in machines)))
    line = {"date": " to ".join(dates) + f"; medians of {len(reports)} runs"}
    results = [_median([run[name] for run in runs]) for name in runs[0]]
    return {"machine": machines[0] | speeds | line, **_tables(results)}


def _name(result: Result) -> tuple[object, ...]:
    return (type(result), *(value for name, value in dataclasses.asdict(result).items() if name in NAMES))


def _median(results: Sequence[Result]) -> Result:
    """The result with the median of each measured number; if a result failed its check in any run, that one."""
    failed = [result for result in results if getattr(result, "error", None)]
    if failed:
        return failed[0]
    runs: list[dict[str, Any]] = [dataclasses.asdict(result) for result in results]
    numbers = {name: [run[name] for run in runs] for name, value in runs[0].items() if isinstance(value, float)}
    middle = {name: math.nan if any(map(math.isnan, own)) else statistics.median(own) for name, own in numbers.items()}
    return type(results[0])(**runs[0] | middle)


def _plain(result: Result) -> dict[str, Any]:
    values = dataclasses.asdict(result)
    missing = {name for name, value in values.items() if isinstance(value, float) and math.isnan(value)}
    return {name: None if name in missing else value for name, value in values.items()}
