"""Values of very different sizes, and strong decays: gradients are as exact as those of the float32 reference.

Every head has its own setting, so that one call tests all settings and shows whether heads influence each other. The
relative error of every result and gradient is at most a few times the larger of two errors: that of the reference in
float32, and that of the float64 reference when the inputs are rounded to float32.
"""

import itertools

import pytest
import torch
from tests.ops.rules import CASES, COMPILED, Case, states
from torch import Tensor

from fwplab.ops import RULES

SPIKE = 12
SHAPES = {"lanes": (9, 20, 6), "held": (3, 20, 8), "rows": (1, 20, 20)}
"""Batch, time, width: three segments between saved states. The key names the memory layout of the kernel."""
DECAYS = (0.0, -1.0, -5.0, -10.0, -15.0, -20.0, -30.0, -40.0, -torch.inf)


def _position(value: Tensor, scale: float) -> None:
    value[:, SPIKE] *= scale


def _channel(value: Tensor, scale: float) -> None:
    value[..., 1] *= scale


def _number(value: Tensor, scale: float) -> None:
    value[:, SPIKE, 1] *= scale


def _number_beside_a_large_channel(value: Tensor, scale: float) -> None:
    value[..., 1] *= 1e8
    value[:, SPIKE, 2] *= scale


def _read_all(weight: Tensor) -> None:
    pass


def _read_earlier(weight: Tensor) -> None:
    weight[:, SPIKE:] = 0
    weight[..., 1] = 0


def _read_spike(weight: Tensor) -> None:
    weight[:, :SPIKE] = 0
    weight[:, SPIKE + 1 :] = 0


SETTINGS = list(
    itertools.product(
        (_position, _channel, _number, _number_beside_a_large_channel),
        (1.0, 1e3, 1e5, 1e8),
        (_read_all, _read_earlier, _read_spike),
    )
)
"""What is large, how large, and which outputs the loss uses: all, those before and beside it, or only those there."""


def gradients(
    case: Case, inputs: list[Tensor], weights: list[Tensor], backend: str, dtype: torch.dtype
) -> list[Tensor]:
    """Results and gradients in float64, each as `[heads, numbers of a head]`."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in inputs]
    scan = case.rule(*leaves, backend=backend)
    results = [scan.output, *states(scan)]
    used = [weight.to(dtype) for weight in weights]
    found = torch.autograd.grad(results, leaves, used, allow_unused=True, materialize_grads=True)
    count = case.sequences
    by_head = [results[0].movedim(2, 0), *(state.movedim(1, 0) for state in results[1:])]
    by_head += [gradient.movedim(2, 0) for gradient in found[:count]] + list(found[count:])
    return [tensor.detach().double().flatten(1) for tensor in by_head]


def check(case: Case, inputs: list[Tensor], weights: list[Tensor]) -> None:
    """Checks every result and gradient of the compiled kernels, for heads where the float32 reference is finite."""
    exact = gradients(case, inputs, weights, "reference", torch.float64)
    loop = gradients(case, inputs, weights, "reference", torch.float32)
    fast = gradients(case, inputs, weights, "cpu", torch.float32)
    generator = torch.Generator().manual_seed(2)
    limits = torch.finfo(torch.float32)
    rounded = [x * (1 + limits.eps * torch.randn(x.shape, dtype=x.dtype, generator=generator)) for x in inputs]
    moved = gradients(case, rounded, weights, "reference", torch.float64)
    finite = torch.stack([each.isfinite().all(1) for each in (*exact, *moved, *loop)]).all(0)
    sizes = torch.stack([truth.abs().amax(1) for truth in exact])[:, finite]
    own, condition, errors = (
        torch.stack([(a - b).abs().amax(1) for a, b in zip(tensors, exact, strict=True)])[:, finite]
        for tensors in (loop, moved, fast)
    )
    usual = (torch.maximum(own, condition) / sizes.clamp(min=limits.tiny)).amax(0) + limits.eps
    underflow = limits.tiny * sizes.amax(0).clamp(min=1)  # products below the smallest number of float32
    accumulated = 4 * inputs[0].shape[1] ** 0.5  # every position rounds
    assert (errors <= accumulated * usual * sizes + underflow).all(), (errors / (usual * sizes)).tolist()


def draw(case: Case, shape: tuple[int, int, int], heads: int) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs that float32 represents exactly, and the random weights of the results in the loss."""
    batch, time, width = shape
    inputs = [
        tensor.float().double() for tensor in case.draw(batch, time, heads, width, torch.Generator().manual_seed(0))
    ]
    scan = case.rule(*inputs, backend="reference")
    generator = torch.Generator().manual_seed(1)
    shapes = [result.shape for result in (scan.output, *states(scan))]
    return inputs, [torch.randn(each, dtype=torch.float64, generator=generator) for each in shapes]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", COMPILED)
def test_large_values_cost_small_ones_no_precision(name: str, shape: str) -> None:
    case = CASES[name]
    inputs, weights = draw(case, SHAPES[shape], len(SETTINGS))
    names = list(RULES[case.module].sequences)
    large = inputs[names.index("value") if "value" in names else 0]
    for head, (enlarge, scale, read) in enumerate(SETTINGS):
        enlarge(large[:, :, head], scale)
        read(weights[0][:, :, head])
        if read is not _read_all:
            for weight in weights[1:]:
                weight[:, head] = 0
    check(case, inputs, weights)


@pytest.mark.parametrize("shape", SHAPES)
def test_strong_decays_keep_gradients_exact(shape: str) -> None:
    case = CASES["gated_delta"]
    inputs, weights = draw(case, SHAPES[shape], len(DECAYS))
    for head, decay in enumerate(DECAYS):
        inputs[4][:, :, head] = decay + (0.3 * inputs[4][:, :, head]).clamp(min=-1)
    check(case, inputs, weights)
