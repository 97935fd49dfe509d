"""What every rule returns, and the one place where the machine is chosen."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops import cpu


class Scan(NamedTuple):
    """The result of running a rule over a sequence.

    `output`: `[batch, time, heads, d]`. `state`: what the rule carries to the next position, a tensor or a tuple of
    tensors with the batch first; passed back as `initial_state` it continues the sequence.
    """

    output: Tensor
    state: Any


Forms = Mapping[str, Callable[..., Scan]]


def choose(rule: str, forms: Forms, backend: str, tensor: Tensor) -> Callable[..., Scan]:
    """The form of `rule` that `backend` names, or for "auto" the fastest that can run on the tensor's device.

    A named form that does not exist or cannot run is an error, never a silent replacement.
    """
    name = automatic(forms, tensor.device, tensor.dtype) if backend == "auto" else backend
    if name not in forms:
        raise UserError(f"{rule} has no backend {name!r}; choose from: auto, {', '.join(forms)}")
    if name == "cpu" and not compiled_can_run(tensor.device, tensor.dtype):
        raise UserError(
            f"{rule}: backend 'cpu' needs float32 or float64 tensors on the CPU and the compiled library "
            f"(here: {tensor.dtype} on {tensor.device}; library: {cpu.info()['why']}); choose from: auto, reference"
        )
    return forms[name]


def automatic(forms: Forms, device: torch.device, dtype: torch.dtype) -> str:
    """What "auto" takes: the compiled kernel where there is one and it runs, else the chunkwise form, else the loop."""
    if "cpu" in forms and compiled_can_run(device, dtype):
        return "cpu"
    return "chunk" if "chunk" in forms else "reference"


def compiled_can_run(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled kernels take tensors of this kind on this machine."""
    return device.type == "cpu" and dtype in (torch.float32, torch.float64) and cpu.available()
