"""Compares every backend of every rule with the float64 reference on this machine, and withdraws those that differ.

The results are kept in `FWPLAB_HOME`, for the machine and the versions that they were found on.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.files import home_folder, replaced
from fwplab.ops import cpu
from fwplab.ops.cpu import library
from fwplab.ops.rule import RULES, Rule
from fwplab.ops.triton.self_check import (
    Use,
    bounds_of,
    by_reference,
    compare,
    draw,
    names,
    require_gradients,
    with_gradients,
)
from fwplab.version import __version__

FILE = "doctor.json"
WIDTHS = (4, 5, 16)
"""Head widths: one for which kernels keep the state in registers, an odd one, and a wide one."""
CPU_TYPES = (torch.float32, torch.float64)
GPU_TYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Finding:
    """The comparison of one backend of one rule with the reference, over all head widths and options."""

    rule: str
    """The name of the rule."""
    backend: str
    """The name of the backend."""
    dtype: str
    """The data type of the sequences."""
    checks: int
    """The number of comparisons of an output, a state or a gradient."""
    error: float
    """The largest error, as a share of the error that rounding explains; above 1 the backend is wrong."""
    problem: str
    """Where it first differs, or why it does not run; empty if it passed."""


def examine(device: str = "cpu") -> Iterator[Finding]:
    """Compares outputs, states and all gradients of every backend that can run on the device."""
    where = torch.device(device)
    for rule in RULES.values():
        backends = [name for name in rule.every_form if name != "reference" and _can_run(name, where)]
        for dtype in CPU_TYPES if where.type == "cpu" else GPU_TYPES:
            for backend in backends:
                yield _finding(rule, backend, where, dtype)


def _can_run(backend: str, device: torch.device) -> bool:
    if backend == "cpu":
        return device.type == "cpu" and cpu.available()
    return backend != "triton" or device.type == "cuda"


def _finding(rule: Rule, backend: str, device: torch.device, dtype: torch.dtype) -> Finding:
    worst, checks = 0.0, 0
    for use in _uses(rule, backend, device, dtype):
        try:
            errors = _errors(rule, backend, use)
        except Exception as failure:  # whatever a compiler or a driver raises is the reason
            line = f"{type(failure).__name__}: {failure}".split("\n")[0]
            return _of(use, backend, checks, float("inf"), f"{use} does not run: {line}")
        for name, error in errors:
            checks += 1
            if not error <= 1:  # NaN fails too
                problem = f"{use}: {name} is off by {error:.1f} times what rounding explains"
                return _of(use, backend, checks, error, problem)
            worst = max(worst, error)
    return Finding(rule.name, backend, str(dtype).removeprefix("torch."), checks, worst, "")


def _of(use: Use, backend: str, checks: int, error: float, problem: str) -> Finding:
    return Finding(use.rule, backend, str(use.dtype).removeprefix("torch."), checks, error, problem)


def _uses(rule: Rule, backend: str, device: torch.device, dtype: torch.dtype) -> Iterator[Use]:
    """Every head width, with and without packing and the optional arguments."""
    shape = (1, 2, 1, 4)
    drawn = [rule.draw(case, shape, torch.Generator().manual_seed(0)) for case in rule.cases]
    for given in dict.fromkeys(rule.given(each.sequences) for each in drawn):
        for width in WIDTHS:
            for packed in (False, True):
                yield Use(rule.name, device, dtype, width, given, packed)


def _errors(rule: Rule, backend: str, use: Use) -> list[tuple[str, float]]:
    """The errors of the output, the states and the gradients, as shares of what rounding explains."""
    drawn = draw(use)
    sequences = [None if tensor is None else tensor.to(use.device, use.dtype) for tensor in drawn.sequences]
    slow, state = ([tensor.to(use.device, use.computed) for tensor in part] for part in (drawn.slow, drawn.state))
    leaves = require_gradients([*sequences, *slow, *state])
    own, weights = leaves[: len(sequences)], [leaf for leaf in leaves[len(sequences) :] if leaf is not None]
    bounds = bounds_of(use)
    scan = rule.run(
        backend,
        own,
        weights[: len(slow)],
        state=weights[len(slow) :],
        cu_seqlens=None if bounds is None else bounds.to(use.device),
        forms=rule.every_form,
    )
    results = (scan.output, *(scan.state if isinstance(scan.state, tuple) else (scan.state,)))
    found = with_gradients(use, results, leaves)
    truth, loop = _references(use)
    shares = []
    for name, *tensors in zip(names(drawn), found, truth, loop, strict=True):
        error, allowed = compare(use, *tensors)
        shares.append((name, error / allowed))
    return shares


@lru_cache(maxsize=64)  # all backends of a rule are compared with the same
def _references(use: Use) -> tuple[list[Tensor], list[Tensor]]:
    drawn = draw(use)
    return by_reference(use, drawn, torch.float64), by_reference(use, drawn, torch.float32)


def fingerprint() -> str:
    """A text that changes with the processor, the GPU, the versions and the compiled kernels."""
    loaded = library.load()
    kernels = loaded.path if isinstance(loaded, library.Library) else None
    facts = [
        __version__,
        torch.__version__,
        platform.python_version(),
        platform.machine(),
        processor(),
        *([str(kernels), str(kernels.stat().st_size), str(kernels.stat().st_mtime_ns)] if kernels else []),
        torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")


def keep(findings: list[Finding]) -> None:
    """Keeps the findings in `FWPLAB_HOME`, and withdraws the backends that failed."""
    path = home_folder() / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"fingerprint": fingerprint(), "findings": [asdict(finding) for finding in findings]}
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
    _withdraw(findings)


def is_off() -> bool:
    """Whether `FWPLAB_DOCTOR=off` turns off the check before the first training."""
    return os.environ.get("FWPLAB_DOCTOR") == "off"


def kept_findings() -> list[Finding] | None:
    """The findings for this machine and these versions; None if there are none."""
    try:
        path = home_folder() / FILE
        if not os.path.exists(path):
            return None
        kept = json.loads(path.read_text("utf-8"))
        if kept["fingerprint"] != fingerprint():
            return None
        return [Finding(**each) for each in kept["findings"]]
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return None


def withdraw_failed() -> None:
    """Withdraws the backends that failed on this machine before."""
    _withdraw(kept_findings() or [])


def _withdraw(findings: list[Finding]) -> None:
    for finding in findings:
        if finding.problem and finding.rule in RULES:
            RULES[finding.rule].withdraw(finding.backend)
