"""The CUDA kernels of the code published with arXiv 2310.16076, from a clone of its repository.

They are compiled at their first import (by PyTorch's `cpp_extension` with nvcc and ninja). Their tensors are
`[batch, heads, time, d]`. They start from a state of zeros and overwrite it with the last state, so that every call
needs a new one.
"""

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from fwplab.benchmark.operators import Case, Inputs
from fwplab.errors import UserError

KERNELS = {
    "linear": ("fast_transformers", "fast_weight_sum"),
    "delta": ("fast_weight", "delta_net_fn"),
    "recurrent_delta": ("rec_update_fwm_tanh", "rec_delta_fn"),
    "srwm": ("self_ref_v0", "self_ref_v0"),
}
"""The package and the function of each published kernel, by rule."""
TOLERANCE = 1e-3
"""The largest difference from the reference in float64, relative to the largest value."""


def check_folder(folder: Path) -> None:
    """Raises `UserError` if the folder is no clone of the published code."""
    missing = [package for package, _ in KERNELS.values() if not (folder / package / "__init__.py").is_file()]
    if missing:
        raise UserError(f"--published: {str(folder)!r} is no clone of IDSIA/fwp-formal-lang: no {', '.join(missing)}")


def published_passes(case: Case, inputs: Inputs, folder: Path) -> Callable[[], tuple[Tensor, ...]]:
    """A function that runs forward and backward of the published kernel of the rule, from a state of zeros.

    case: the rule and its shape.
    inputs: the arguments of the rule in the layout of `fwplab.ops`, with the state last.
    folder: a clone of the published code.

    Raises `UserError` if there is no such kernel, or if its results differ from those of the reference.
    """
    if case.rule not in KERNELS or case.operator == "gated_delta":
        raise UserError(f"the published code has no kernel of {case.operator}")
    kernel = _load(folder, case.rule)
    leaves = [tensor.contiguous().requires_grad_() for tensor in _published_layout(case.rule, inputs)]
    cotangent = torch.randn_like(leaves[0])

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(kernel(*_arguments(case.rule, leaves)), leaves, cotangent)

    with torch.no_grad():
        output: Tensor = kernel(*_arguments(case.rule, leaves))
    for index, (found, expected) in enumerate(zip((output, *run()), _exact(case, inputs, cotangent), strict=True)):
        if not bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max()):
            raise UserError(f"the published kernel differs from the reference (result {index})")
    return run


@cache
def _load(folder: Path, rule: str) -> Callable[..., Tensor]:
    package, function = KERNELS[rule]
    name = f"_published_{package}"  # its own name, such as `fast_transformers`, may be that of an installed library
    spec = importlib.util.spec_from_file_location(name, folder / package / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Tensor] = getattr(module, function)
    return found


def _published_layout(rule: str, inputs: Inputs) -> list[Tensor]:
    """Inputs without states, or their gradients, in the layout of the published kernel."""
    if rule == "srwm":
        x, *blocks = (tensor for tensor in inputs if tensor is not None)
        return [x.transpose(1, 2), *blocks]
    query, key, value, *rest = (tensor for tensor in inputs if tensor is not None)
    along = [tensor.transpose(1, 2) for tensor in (query, key, value)]
    if rule == "linear":
        return along
    along.append(rest[0].transpose(1, 2).unsqueeze(-1))
    if rule == "delta":
        return along
    *recurrent, recurrent_beta = (weight.unsqueeze(0) for weight in rest[1:5])
    return [*along, *recurrent, recurrent_beta.unsqueeze(2)]


def _arguments(rule: str, leaves: list[Tensor]) -> list[Tensor]:
    """The arguments of the published kernel: the inputs, and new states that it may overwrite."""
    if rule == "srwm":
        return [leaves[0], *(block.clone() for block in leaves[1:])]
    batch, heads, _, width = leaves[0].shape
    states = [leaves[0].new_zeros(batch, heads, width, width)]
    if rule == "recurrent_delta":
        states.append(leaves[0].new_zeros(batch, heads, 1, width))
    return [*leaves, *states]


def _exact(case: Case, inputs: Inputs, cotangent: Tensor) -> list[Tensor]:
    """Output and gradients of the reference in float64 from a state of zeros, in the layout of the published kernel."""
    states = {"linear": 1, "delta": 1, "recurrent_delta": 2, "srwm": 0}[case.rule]
    exact = [None if tensor is None else tensor.detach().double() for tensor in inputs]
    learned = exact[: len(exact) - states]
    zeros = [torch.zeros_like(state) for state in exact[len(exact) - states :] if state is not None]
    leaves = [tensor.requires_grad_() for tensor in learned if tensor is not None]
    output = case.forms["reference"](*learned, *zeros).output
    gradients = torch.autograd.grad(output, leaves, cotangent.transpose(1, 2).double())
    return [output.detach().transpose(1, 2), *_published_layout(case.rule, list(gradients))]
