"""The rules that write fast weights, one file a rule: the equation, its reference step and its fast forms.

Every rule takes `[batch, time, heads, d]`, an `initial_state` and a `backend`, and returns `Scan(output, state)`.
"""

import importlib
from typing import Any

import torch

from fwplab.ops import cpu, triton
from fwplab.ops.delta import delta
from fwplab.ops.delta_product import delta_product
from fwplab.ops.elementwise import elementwise
from fwplab.ops.linear import linear
from fwplab.ops.recurrent_delta import recurrent_delta
from fwplab.ops.scan import Scan, automatic, packs, prefer
from fwplab.ops.srwm import srwm
from fwplab.ops.variation import Variation

RULES = ("linear", "delta", "recurrent_delta", "srwm", "elementwise")

__all__ = [
    "RULES",
    "Scan",
    "Variation",
    "delta",
    "delta_product",
    "elementwise",
    "info",
    "linear",
    "packs",
    "prefer",
    "recurrent_delta",
    "srwm",
]


def info(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """What is in use and why: what "auto" takes for every rule on `device`, the compiled library, and Triton.

    On a GPU every rule's kernels are checked for it, with heads of 16: the first time that takes a minute.
    """
    forms = {rule: importlib.import_module(f"fwplab.ops.{rule}").FORMS for rule in RULES}
    chosen = {rule: automatic(rule, forms[rule], torch.device(device), dtype) for rule in RULES}
    return {"auto": chosen, "compiled": cpu.info(), "triton": triton.info()}
