"""Triton kernels of the rules, for GPUs. Without a GPU, Triton's interpreter runs them on the CPU for tests.

They have a forward pass and an analytic backward pass inside PyTorch custom operators (`fwplab::triton_delta` and so
on), which support `torch.func.vmap` by folding the mapped members into the heads. Inputs are float32, bfloat16 or
float64. The state and all sums are float32, or float64 for float64 inputs. Triton is imported at the first call.
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
    """Whether Triton interprets its kernels in Python. The variable must be set before Triton is imported."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on", "y"}


FOUND: dict[str, str | None] = {}
"""The cached result of `missing`. It is a dictionary because `torch.compile` warns about a cached function."""


def missing() -> str | None:
    """Why the kernels cannot run here; None if they can."""
    if "why" not in FOUND:
        FOUND["why"] = reason_missing()
    return FOUND["why"]


def reason_missing() -> str | None:
    """Checks for Triton, without importing it, and for a GPU. Returns what is missing; None if nothing is."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if not interpreted() and not torch.cuda.is_available():
        return "there is no CUDA GPU, and TRITON_INTERPRET=1 is not set"
    return None


def available() -> bool:
    """Whether Triton is installed and the kernels can run, on a GPU or in its interpreter."""
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
    """Compares the kernels of a rule with its reference. Returns why they must not be used; None if they agree.

    Each combination of arguments is checked once in a process. On a new machine the first check takes some seconds,
    because the kernels are compiled. If the kernels cannot run at all, the reason for that is returned.

    device: the device; by default the current GPU, or the CPU for the interpreter.
    dtype: the data type of the inputs.
    width: the width of a head.
    given: the optional arguments that are used.
    packed: whether `cu_seqlens` is used.
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
    """The results of `checked` on a device in this process, by rule: None if the kernels agreed in every check."""
    from fwplab.ops.triton import self_check

    reasons: dict[str, str | None] = {}
    for use, why in self_check.CHECKS.items():
        if use.device.type == device.type and device.index in (None, use.device.index):
            reasons[use.rule] = reasons.get(use.rule) or why
    return reasons


def info() -> dict[str, Any]:
    """Triton's version, the device, why it cannot be used (None if it can), and the result of every rule's check.

    Rules that this process has not used yet are not checked here.
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
    """The names of the rules that have a file with kernels."""
    from fwplab.ops.rule import RULES

    return [name for name in RULES if (KERNELS / f"{name}.py").exists()]


def run(rule: str, *arguments: Tensor | None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, ...]:
    """Runs the kernels of a rule. Returns the output and the states; `fwplab.ops` has the equations and shapes.

    arguments: all arguments of the rule, in the order of its description.
    cu_seqlens: the bounds of packed sequences, `[sequences + 1]`; None if the batch is not packed.
    Raises `UserError` if the kernels cannot run.
    """
    require()
    load(rule)
    return LOADED[rule](*arguments, cu_seqlens)


LOADED: dict[str, Callable[..., tuple[Tensor, ...]]] = {}
"""The operators of the rules that have been imported, by rule."""


def load(rule: str) -> bool:
    """Imports the kernels of a rule, and with them Triton."""
    if rule not in LOADED:
        LOADED[rule] = getattr(importlib.import_module(f"fwplab.ops.triton.kernels.{rule}"), rule)
    return True


load._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compile need not follow the import


def require() -> None:
    """Raises `UserError` if the kernels cannot run."""
    why = missing()
    if why is not None:
        raise UserError(f"the Triton kernels cannot run: {why}; choose from: auto, reference")
