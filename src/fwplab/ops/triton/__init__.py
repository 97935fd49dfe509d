"""Triton kernels of the rules, for GPUs; Triton's interpreter runs them on the CPU to test them.

Forward and analytic backward inside PyTorch custom operators (`fwplab::triton_delta` and so on), with
`torch.func.vmap`, which folds the mapped members into the heads. Inputs float32, bfloat16 or float64; the state and all
sums are float32, or float64 for float64 inputs. Triton is imported at the first call, not with this package.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fwplab.errors import UserError

__all__ = ["available", "checked", "found", "info", "run"]

KERNELS = Path(__file__).with_name("kernels")


def interpreted() -> bool:
    """Whether Triton runs its kernels in Python: the environment must say so before Triton is imported."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on", "y"}


FOUND: dict[str, str | None] = {}
"""What `missing` found. (`torch.compile` follows a dictionary; it warns of a cached function.)"""


def missing() -> str | None:
    """Why the kernels cannot run here; None if they can."""
    if "why" not in FOUND:
        FOUND["why"] = look()
    return FOUND["why"]


def look() -> str | None:
    """Look for Triton, which is not imported, and for a GPU."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if not interpreted() and not torch.cuda.is_available():
        return "there is no CUDA GPU, and TRITON_INTERPRET=1 is not set"
    return None


def available() -> bool:
    """Whether Triton is installed and there is a GPU, or its interpreter, to run the kernels."""
    return missing() is None


def checked(
    rule: str,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    width: int = 16,
    *,
    given: tuple[str, ...] = (),
    packed: bool = False,
) -> str | None:
    """Why the kernels of a rule must not be used on a device: they compute something else than the reference there.

    None if they agree. What is checked is what will be used: inputs of this type, heads of this `width`, the optional
    arguments that are `given`, `cu_seqlens` if `packed`; each once a process, on the GPU in use (or in the interpreter)
    if no `device` is given. The first time on a machine it waits for the compiler, some seconds. Where
    the kernels cannot run at all that is the reason.
    """
    if missing() is not None:
        return missing()
    from fwplab.ops.triton import self_check

    if device is None:
        device = torch.device("cpu" if interpreted() else "cuda")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return self_check.reason(self_check.Use(rule, device, dtype, width, given, packed))


def found(device: torch.device) -> dict[str, str | None]:
    """What `checked` has found on a device in this process, by rule: None where the kernels agree in every use."""
    from fwplab.ops.triton import self_check

    reasons: dict[str, str | None] = {}
    for use, why in self_check.CHECKS.items():
        if use.device.type == device.type and device.index in (None, use.device.index):
            reasons[use.rule] = reasons.get(use.rule) or why
    return reasons


def info() -> dict[str, Any]:
    """Triton's version, the GPU or the interpreter, why it cannot be used (None if it can), and every rule's check.

    A rule that has not been used yet in this process is not checked for the sake of this answer.
    """
    why = missing()
    if why is not None:
        return {"available": False, "why": why, "version": None, "device": None, "checks": {}}
    from fwplab.ops.triton import self_check

    version = importlib.import_module("triton").__version__
    device = "interpreter" if interpreted() else torch.cuda.get_device_name()
    checks = {rule: self_check.result(rule) for rule in rules()}
    return {"available": True, "why": None, "version": version, "device": device, "checks": checks}


def rules() -> list[str]:
    """The rules that have kernels, in files of their names."""
    from fwplab.ops.rule import RULES

    return [name for name in RULES if (KERNELS / f"{name}.py").exists()]


def run(rule: str, *arguments: Tensor | None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, ...]:
    """Output and states by the kernels of a rule; `fwplab.ops` has equations and shapes."""
    require()
    load(rule)
    return LOADED[rule](*arguments, cu_seqlens)


LOADED: dict[str, Callable[..., tuple[Tensor, ...]]] = {}
"""The functions of the rules that have run."""


def load(rule: str) -> bool:
    """Enter a rule into `LOADED`; that imports Triton."""
    if rule not in LOADED:
        LOADED[rule] = getattr(importlib.import_module(f"fwplab.ops.triton.kernels.{rule}"), rule)
    return True


load._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compile need not follow the import


def require() -> None:
    """A `UserError` where the kernels cannot run."""
    why = missing()
    if why is not None:
        raise UserError(f"the Triton kernels cannot run: {why}; choose from: auto, reference")
