"""Large numbers beside small ones, and decays that leave almost nothing: gradients as exact as the float32 loop's.

Every head is an experiment of its own, so that one call holds them all and none may feel its neighbours. No result and
no gradient of it may have a relative error of more than a few times the largest of the reference in float32, or of what
a rounding of the inputs alone leads to.
"""

import itertools

import pytest
import torch
from tests.ops.rules import CASES, COMPILED, Case, states
from torch import Tensor

from fwplab.ops import RULES

SPIKE = 12
SHAPES = {"lanes": (9, 20, 6), "held": (3, 20, 8), "rows": (1, 20, 20)}
"""Batch, time, width: over three segments of what is saved."""
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


def _all(weight: Tensor) -> None:
    pass


def _early(weight: Tensor) -> None:
    weight[:, SPIKE:] = 0
    weight[..., 1] = 0


def _there(weight: Tensor) -> None:
    weight[:, :SPIKE] = 0
    weight[:, SPIKE + 1 :] = 0


EXPERIMENTS = list(
    itertools.product(
        (_position, _channel, _number, _number_beside_a_large_channel), (1.0, 1e3, 1e5, 1e8), (_all, _early, _there)
    )
)
"""What is large, how large, and what is read: all, or what lies before and beside it, or only that position."""


def gradients(
    case: Case, inputs: list[Tensor], weights: list[Tensor], backend: str, dtype: torch.dtype
) -> list[Tensor]:
    """Results and gradients in float64, the heads in front, each head's numbers flat."""
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
    """Every result and gradient of the compiled kernels, for the heads in which float32 is enough for the loop."""
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
    vanishing = limits.tiny * sizes.amax(0).clamp(min=1)  # where a share is less than float32 has digits for
    often = 4 * inputs[0].shape[1] ** 0.5  # every position rounds
    assert (errors <= often * usual * sizes + vanishing).all(), (errors / (usual * sizes)).tolist()


def draw(case: Case, shape: tuple[int, int, int], heads: int) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs, each of which float32 has exactly, and the weights of the results in what is differentiated."""
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
def test_what_is_large_takes_no_digits_from_what_is_small(name: str, shape: str) -> None:
    case = CASES[name]
    inputs, weights = draw(case, SHAPES[shape], len(EXPERIMENTS))
    names = list(RULES[case.module].sequences)
    large = inputs[names.index("value") if "value" in names else 0]
    for head, (enlarge, scale, read) in enumerate(EXPERIMENTS):
        enlarge(large[:, :, head], scale)
        read(weights[0][:, :, head])
        if read is not _all:
            for weight in weights[1:]:
                weight[:, head] = 0
    check(case, inputs, weights)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_decay_may_leave_almost_nothing(shape: str) -> None:
    case = CASES["gated_delta"]
    inputs, weights = draw(case, SHAPES[shape], len(DECAYS))
    for head, decay in enumerate(DECAYS):
        inputs[4][:, :, head] = decay + (0.3 * inputs[4][:, :, head]).clamp(min=-1)
    check(case, inputs, weights)
