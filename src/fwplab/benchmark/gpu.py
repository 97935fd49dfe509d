"""The operators and populations on a GPU, beside what else computes them there.

Everything but the graphs runs on a CPU as well, which is how it is tested.
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

from fwplab.benchmark.operators import Case, Inputs, check, draw, lstm_passes, passes
from fwplab.benchmark.published_cuda import published_passes
from fwplab.benchmark.training import run_of
from fwplab.errors import UserError
from fwplab.ops import Scan, triton
from fwplab.recorded import reason, recording
from fwplab.trainer import Training

SHAPES = {"signed_delta": ((4, 16),), "elementwise": ((1, 64),)}
CASES = tuple(
    Case(operator, heads, width)
    for operator in ("linear", "delta", "gated_delta", "signed_delta", "recurrent_delta", "srwm", "elementwise")
    for heads, width in SHAPES.get(operator, ((16, 4), (8, 8), (4, 16), (1, 64)))
)
QUICK = tuple(case for case in CASES if case.width == 16 or case.operator == "elementwise")
MEMBERS = (1, 16, 64, 256)
WARM = 20
"""Steps before a population is timed: kernels are compiled, the step is recorded."""


@dataclass(frozen=True)
class GpuRow:
    """One case on a GPU, forward and backward in float32, medians of rounds in which all take turns.

    `seconds` is a call of `backend`, `ratio_graphed` the time of the same replayed as a CUDA graph, as in a training
    step, over it. The other ratios too are times of the other over `seconds`: the published-style loop, the tuned
    loop, the tuned loop replayed as a CUDA graph, the same compiled by `torch.compile` for CUDA graphs, cuDNN's LSTM
    of equal width, flash-linear-attention's chunk kernel in bfloat16, where it is installed, and the published code's
    CUDA kernel, where a clone of it is named. `failed` says why one is missing; `error`, why no speed is given at all.
    """

    operator: str
    heads: int
    width: int
    batch: int
    length: int
    backend: str
    seconds: float = math.nan
    ratio_graphed: float = math.nan
    ratio_published_loop: float = math.nan
    ratio_tuned_loop: float = math.nan
    ratio_graphed_loop: float = math.nan
    ratio_compiled_loop: float = math.nan
    ratio_lstm: float = math.nan
    ratio_fla: float = math.nan
    ratio_published_cuda: float = math.nan
    failed: str = ""
    error: str | None = None


@dataclass(frozen=True)
class GpuSeeds:
    """Members that learn together as one population; `ratio` is their seed-steps a second over those of one alone."""

    model: str
    batch: int
    members: int
    seed_steps_per_second: float
    ratio: float


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
    """A row; `compiled=False` leaves out `torch.compile`, which takes minutes for a loop over the length; `published`
    is a clone of the published code."""
    where, name = torch.device(device), case.backend(backend, device)
    shape = case.operator, case.heads, case.width, batch, length, name
    if where.type == "cuda" and backend == "auto" and name != "triton":
        return [GpuRow(*shape, error=f"no kernels: {triton.checked(case.rule, where)}")]
    wrong = None if name == "triton" else check(case, name, device)  # the kernels' own check is part of choosing them
    if wrong:
        return [GpuRow(*shape, error=wrong)]
    torch.backends.cudnn.allow_tf32 = False  # float32 as the rest, and as `Training` has it
    inputs = draw(case, batch, length, device=device)
    tuned = case.forms["loop" if "loop" in case.forms else "reference"]
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "own": lambda: passes(case.forms[name], inputs),
        "graphed": lambda: graphed(passes(case.forms[name], inputs), where),
        "published_loop": lambda: passes(case.forms["published"], inputs),
        "tuned_loop": lambda: passes(tuned, inputs),
        "graphed_loop": lambda: graphed(passes(tuned, inputs), where),
        "lstm": lambda: lstm_passes(case.heads * case.width, batch, length, device),
        "fla": lambda: fla_passes(case, inputs),
    }
    if published is not None:
        ways["published_cuda"] = lambda: published_passes(case, inputs, published)
    if compiled:
        ways["compiled_loop"] = lambda: compiled_passes(tuned, inputs)
    calls: dict[str, Callable[[], object]] = {}
    failed: dict[str, str] = {}
    for label, make in ways.items():
        try:
            call = make()
            call()
        except Exception as failure:  # whatever another's code, the compiler or the driver raises is the reason
            if label == "own":
                raise
            failed[label] = f"{type(failure).__name__}: {reason(failure)}"
        else:
            calls[label] = call
    times = medians(calls, where, rounds)
    ratios: dict[str, Any] = {f"ratio_{label}": times[label] / times["own"] for label in calls if label != "own"}
    reasons = "; ".join(f"{label}: {why}" for label, why in failed.items())
    return [GpuRow(*shape, seconds=times["own"], failed=reasons, **ratios)]


def measure_seeds(model: str, device: str, batch: int, members: tuple[int, ...] = MEMBERS) -> list[GpuSeeds]:
    """A row for each size of a population of one model on parity, hidden 32, two layers."""
    rows: list[GpuSeeds] = []
    for count in members:
        training = Training(run_of(model, count, batch), device)
        for _ in range(WARM):
            training.step()
        rate = count / seconds(training.step, torch.device(device), least=1.0)
        rows.append(GpuSeeds(model, batch, count, rate, rate / rows[0].seed_steps_per_second if rows else 1.0))
    return rows


def medians(calls: Mapping[str, Callable[[], object]], device: torch.device, rounds: int) -> dict[str, float]:
    """Median seconds of one call of each, in turns."""
    times: dict[str, list[float]] = {label: [] for label in calls}
    for _ in range(rounds):
        for label, call in calls.items():
            times[label].append(seconds(call, device))
    return {label: statistics.median(values) for label, values in times.items()}


def seconds(call: Callable[[], object], device: torch.device, least: float = 0.1) -> float:
    """Seconds of one call, the mean over as many as take `least` seconds; the GPU is waited for at both ends alone."""

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    count, passed = 1, run(1)
    while passed < least:
        count = max(2 * count, int(1.2 * count * least / max(passed, 1e-9)))
        passed = run(count)
    return passed / count


def graphed(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The call recorded as a CUDA graph; what it returned at first is what a replay overwrites."""
    if device.type != "cuda":
        raise UserError("there are CUDA graphs on a CUDA GPU alone")
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
    """The form compiled by `torch.compile` for these shapes and no others."""
    torch._dynamo.reset()
    return passes(torch.compile(form, mode="reduce-overhead", dynamic=False), inputs)


FLA = {"linear": ("fla.ops.linear_attn", "chunk_linear_attn"), "delta": ("fla.ops.delta_rule", "chunk_delta_rule")}
"""Of flash-linear-attention; its chunk kernels take bfloat16."""


def fla_passes(case: Case, inputs: Inputs) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of flash-linear-attention's kernel of the rule, from a state of zeros."""
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
