"""The rules that write fast weights, one file a rule: the equation, its reference step and its fast forms.

Every rule takes `[batch, time, heads, d]`, an `initial_state` and a `backend`, and returns `Scan(output, state)`.
"""

from typing import Any

import torch

from fwplab.ops import cpu, triton
from fwplab.ops.delta import delta
from fwplab.ops.delta_product import delta_product
from fwplab.ops.elementwise import elementwise
from fwplab.ops.linear import linear
from fwplab.ops.recurrent_delta import recurrent_delta
from fwplab.ops.rule import RULES, find
from fwplab.ops.scan import Scan, automatic, packs, prefer
from fwplab.ops.srwm import srwm
from fwplab.ops.variation import Variation

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


globals().update(find())  # a rule that is not imported above by name is here all the same


def info(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """What is in use and why: what "auto" takes for every rule on `device`, the compiled library, and Triton.

    On a GPU every rule's kernels are checked for it, with heads of 16: the first time that takes a minute.
    """
    where = torch.device(device)
    chosen = {name: automatic(name, rule.forms, where, dtype, kernels=rule.kernels) for name, rule in RULES.items()}
    return {"auto": chosen, "compiled": cpu.info(), "triton": triton.info()}
