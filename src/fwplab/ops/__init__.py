"""The rules that update fast weights, one rule a file: the equation, the reference step and the fast forms.

Every rule takes `[batch, time, heads, d]` tensors, an `initial_state` and a `backend`. It returns
`Scan(output, state)`.
"""

from typing import Any

import torch

from fwplab.ops import cpu, triton
from fwplab.ops.delta import delta
from fwplab.ops.delta_product import delta_product
from fwplab.ops.doctor import withdraw_failed
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


globals().update(find())  # also a rule that is not imported by name above
withdraw_failed()


def info(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Describes what is used and why: the backend that "auto" chooses for every rule, the compiled library, and Triton.

    On a GPU this checks the kernels of every rule, with heads of width 16. The first call takes about a minute.
    """
    where = torch.device(device)
    chosen = {name: automatic(name, rule.forms, where, dtype, kernels=rule.kernels) for name, rule in RULES.items()}
    withdrawn = {name: list(rule.withdrawn) for name, rule in RULES.items() if rule.withdrawn}
    return {"auto": chosen, "compiled": cpu.info(), "triton": triton.info(), "withdrawn": withdrawn}
