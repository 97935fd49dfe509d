"""Benchmarks of the operators and of populations on a GPU, beside their alternatives there.

Everything except CUDA graphs also runs on a CPU, which the tests use.
"""

import importlib
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fwplab.benchmark.operators import OPERATORS, Case, Inputs, check, draw, lstm_passes, passes
from fwplab.benchmark.published_cuda import published_passes
from fwplab.benchmark.training import run_of
from fwplab.errors import UserError
from fwplab.ops import Scan, triton
from fwplab.training.cuda_graph import reason, recording
from fwplab.training.trainer import Training

SHAPES = {"signed_delta": ((4, 16),), "elementwise": ((1, 64),)}
CASES = tuple(
    Case(operator, heads, width)
    for operator in OPERATORS
    for heads, width in SHAPES.get(operator, ((16, 4), (8, 8), (4, 16), (1, 64)))
    if Case(operator, heads, width).rule in triton.rules()
)
QUICK = tuple(case for case in CASES if case.width == 16 or case.operator == "elementwise")
MEMBERS = (1, 16, 64, 256)
WARM = 20
"""The number of steps before a population is timed, in which kernels are compiled and the step is recorded."""


@dataclass(frozen=True)
class GpuRow:
    """The times of one case on a GPU, forward and backward in float32: medians of rounds in which all take turns.

    A ratio is the time of an alternative over `seconds`, nan if it was not measured.
    """

    operator: str
    """The operator."""
    heads: int
    """The number of heads."""
    width: int
    """The width of a head."""
    batch: int
    """The number of sequences."""
    length: int
    """Their length."""
    backend: str
    """The implementation that is measured."""
    seconds: float = math.nan
    """The time of one call."""
    ratio_graphed: float = math.nan
    """The same implementation, replayed as a CUDA graph, as in a training step."""
    ratio_published_loop: float = math.nan
    """A loop in the style of the published code."""
    ratio_tuned_loop: float = math.nan
    """The tuned PyTorch loop."""
    ratio_graphed_loop: float = math.nan
    """The tuned loop, replayed as a CUDA graph."""
    ratio_compiled_loop: float = math.nan
    """The tuned loop, compiled by `torch.compile` for CUDA graphs."""
    ratio_lstm: float = math.nan
    """cuDNN's LSTM of equal width."""
    ratio_fla: float = math.nan
    """The chunk kernel of flash-linear-attention in bfloat16, if that is installed."""
    ratio_published_cuda: float = math.nan
    """The CUDA kernel of the published code, if a clone of it is given."""
    failed: str = ""
    """Why alternatives failed."""
    error: str | None = None
    """Why there is no time at all."""


@dataclass(frozen=True)
class GpuSeeds:
    """The speed of a population."""

    model: str
    """The name of the mixer."""
    batch: int
    """The batch size of each member."""
    members: int
    """The number of members."""
    seed_steps_per_second: float
    """Training steps a second, added over the members."""
    ratio: float
    """The same, relative to a population of one member."""


def measure(
    case: Case,
    device: str,
    *,
    batch: int = 64,
    length: int = 100,
    rounds: int = 7,
    backend: str = "auto",
    compiled: bool = True,
    published: Path | None = None,
) -> list[GpuRow]:
    """Measures one case.

    batch: the number of sequences.
    length: their length.
    rounds: the number of rounds of which the medians are taken.
    backend: an implementation, or "auto" for the default one.
    compiled: whether to measure `torch.compile`, which takes minutes for a loop.
    published: a clone of the published code, for its CUDA kernels.
    """
    where, name = torch.device(device), case.backend(backend, device)
    shape = case.operator, case.heads, case.width, batch, length, name
    if where.type == "cuda" and backend == "auto" and name != "triton":
        return [GpuRow(*shape, error=f"no kernels: {triton.checked(case.rule, where)}")]
    wrong = None if name == "triton" else check(case, name, device)  # the kernels' own check is part of choosing them
    if wrong:
        return [GpuRow(*shape, error=wrong)]
    torch.backends.cudnn.allow_tf32 = False  # full float32, as everywhere else and in `Training`
    inputs = draw(case, batch, length, device=device)
    ways = ways_of(case, name, inputs, where, compiled=compiled)
    if published is not None:
        ways["published_cuda"] = lambda: published_passes(case, inputs, published)
    calls, failed = prepare(ways)
    times = medians(calls, where, rounds)
    ratios: dict[str, Any] = {f"ratio_{label}": times[label] / times["own"] for label in calls if label != "own"}
    reasons = "; ".join(f"{label}: {why}" for label, why in failed.items())
    return [GpuRow(*shape, seconds=times["own"], failed=reasons, **ratios)]


def ways_of(
    case: Case, name: str, inputs: Inputs, device: torch.device, *, compiled: bool
) -> dict[str, Callable[[], Callable[[], object]]]:
    """What is measured: functions that prepare one forward and backward pass, by the names of the ratios.

    name: the implementation whose times the ratios are relative to, "own".
    compiled: whether `torch.compile` is among them.
    """
    tuned, first = case.forms["loop" if "loop" in case.forms else "reference"], inputs[0]
    assert first is not None
    batch, length = first.shape[:2]
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "own": lambda: passes(case.forms[name], inputs),
        "graphed": lambda: graphed(passes(case.forms[name], inputs), device),
        "tuned_loop": lambda: passes(tuned, inputs),
        "graphed_loop": lambda: graphed(passes(tuned, inputs), device),
        "lstm": lambda: lstm_passes(case.heads * case.width, batch, length, str(device)),
        "fla": lambda: fla_passes(case, inputs),
    }
    if "published" in case.forms:
        ways["published_loop"] = lambda: passes(case.forms["published"], inputs)
    if compiled:
        ways["compiled_loop"] = lambda: compiled_passes(tuned, inputs)
    return ways


def prepare(
    ways: Mapping[str, Callable[[], Callable[[], object]]],
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """The passes that run here, each called once, and why the others do not. An error in "own" is raised."""
    calls: dict[str, Callable[[], object]] = {}
    failed: dict[str, str] = {}
    for label, make in ways.items():
        try:
            call = make()
            call()
        except Exception as failure:  # other libraries, the compiler and the driver raise any kind of error
            if label == "own":
                raise
            failed[label] = f"{type(failure).__name__}: {reason(failure)}"
        else:
            calls[label] = call
    return calls, failed


def measure_seeds(model: str, device: str, batch: int, members: tuple[int, ...] = MEMBERS) -> list[GpuSeeds]:
    """Measures populations of several sizes, of one model on parity with hidden 32 and two layers."""
    rows: list[GpuSeeds] = []
    for count in members:
        training = Training(run_of(model, count, batch), device)
        for _ in range(WARM):
            training.step()
        rate = count / seconds_per_call(training.step, torch.device(device), min_seconds=1.0)
        rows.append(GpuSeeds(model, batch, count, rate, rate / rows[0].seed_steps_per_second if rows else 1.0))
    return rows


def medians(calls: Mapping[str, Callable[[], object]], device: torch.device, rounds: int) -> dict[str, float]:
    """The median seconds of one call of each; all take turns in every round."""
    times: dict[str, list[float]] = {label: [] for label in calls}
    for _ in range(rounds):
        for label, call in calls.items():
            times[label].append(seconds_per_call(call, device))
    return {label: statistics.median(values) for label, values in times.items()}


def seconds_per_call(call: Callable[[], object], device: torch.device, min_seconds: float = 0.1) -> float:
    """The mean seconds of one call, over as many calls as take `min_seconds`; the GPU is synchronised at the end."""

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    count, passed = 1, run(1)
    while passed < min_seconds:
        count = max(2 * count, int(1.2 * count * min_seconds / max(passed, 1e-9)))
        passed = run(count)
    return passed / count


def graphed(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Records the call as a CUDA graph; returns the function that replays it."""
    if device.type != "cuda":
        raise UserError("CUDA graphs need a CUDA GPU")
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        with recording() as graph:
            call()
    return graph.replay


def compiled_passes(form: Callable[..., Scan], inputs: Inputs) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of the form, compiled by `torch.compile` for the shapes of these inputs."""
    torch._dynamo.reset()
    return passes(torch.compile(form, mode="reduce-overhead", dynamic=False), inputs)


FLA = {"linear": ("fla.ops.linear_attn", "chunk_linear_attn"), "delta": ("fla.ops.delta_rule", "chunk_delta_rule")}
"""The modules and functions of flash-linear-attention's chunk kernels, which take bfloat16."""


def fla_passes(case: Case, inputs: Inputs) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of flash-linear-attention's kernel, from a state of zeros.

    Raises `UserError` if it has none for this operator.
    """
    if case.operator not in FLA:
        raise UserError(f"flash-linear-attention has no {case.operator}")
    module, name = FLA[case.operator]
    rule = getattr(importlib.import_module(module), name)
    count = 3 if case.operator == "linear" else 4
    leaves = [tensor.to(torch.bfloat16).requires_grad_() for tensor in inputs[:count] if tensor is not None]
    options = {"scale": 1.0} | ({"normalize": False} if case.operator == "linear" else {})
    cotangent = torch.randn_like(leaves[2])

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(rule(*leaves, **options)[0], leaves, cotangent)

    return run
