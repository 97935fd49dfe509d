"""Long sequences: rounding errors of the backward pass, and values that grow with the length."""

import pytest
import torch
from tests.ops.rules import CASES, COMPILED, is_varied
from tests.ops.test_rules import largest_error, run_with_gradients

from fwplab.ops import delta, linear


@pytest.mark.parametrize("shape", [(9, 1000, 1, 8), (9, 1000, 1, 6), (3, 1000, 1, 20)], ids=["held", "lanes", "rows"])
@pytest.mark.parametrize("name", [name for name in COMPILED if not is_varied(name)])
def test_gradient_errors_are_at_most_twice_those_of_the_reference(name: str, shape: tuple[int, ...]) -> None:
    case = CASES[name]
    inputs = [tensor.float() for tensor in case.draw(*shape, torch.Generator().manual_seed(0))]
    exact = run_with_gradients(case, inputs, "reference")
    loop = run_with_gradients(case, inputs, "reference", torch.float32)
    fast = run_with_gradients(case, inputs, "cpu", torch.float32)
    for found, own, truth in zip(fast, loop, exact, strict=True):
        errors, usual = (tensor.sub(truth).flatten(1).norm(dim=1) for tensor in (found, own))
        summed = 1 if truth.shape[0] == shape[0] else shape[1]  # a slow weight's gradient is a sum over the positions
        rounding = torch.finfo(torch.float32).eps * truth.flatten(1).norm(dim=1) * summed**0.5
        assert errors.median() <= 2 * usual.median() + rounding.median()  # single sequences scatter around the median


@pytest.mark.parametrize("name", ["linear", "delta", "signed_delta", "recurrent_delta", "srwm"])
def test_ten_thousand_steps_of_growing_values_stay_finite(name: str) -> None:
    case = CASES[name]
    inputs = [tensor.float() for tensor in case.draw(2, 10_000, 1, 8, torch.Generator().manual_seed(0))]
    inputs[0 if name == "srwm" else 2] *= torch.linspace(0.01, 3 if name == "srwm" else 100, 10_000)[:, None, None]
    if name == "recurrent_delta":  # with stronger feedback the gradient itself overflows float32
        inputs[4:] = [0.1 * tensor for tensor in inputs[4:]]
    assert all(tensor.isfinite().all() for tensor in run_with_gradients(case, inputs, "cpu", torch.float32))


@pytest.mark.parametrize(("batch", "width"), [(17, 7), (4, 7), (4, 8)], ids=["lanes", "rows", "held"])
def test_early_gradients_of_a_growing_state_are_exact(batch: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(batch, 40, 1, width, generator=generator) for _ in range(3))
    beta = torch.full((batch, 40, 1), 0.7)  # keys have norm > 1, so that updates overshoot and the state grows
    inputs = [query, key, value, beta]
    case = CASES["delta"]
    fast = run_with_gradients(case, inputs, "cpu", torch.float32)
    exact = run_with_gradients(case, inputs, "reference")
    loop = run_with_gradients(case, inputs, "reference", torch.float32)
    assert exact[0].abs().max() > 1e6
    for place in range(2, 6):
        found, own, truth = (tensors[place][:, :3] for tensors in (fast, loop, exact))
        assert (found - truth).norm() <= 4 * (own - truth).norm() + 1e-6 * truth.norm()


def test_a_sequence_has_the_same_bits_in_any_batch() -> None:
    query, key, value, beta = CASES["delta"].draw(40, 30, 2, 8, torch.Generator().manual_seed(0))
    whole = delta(query, key, value, beta, backend="cpu").output
    part = delta(query[:20], key[:20], value[:20], beta[:20], backend="cpu").output
    assert torch.equal(whole[:20], part)
    assert (
        largest_error([linear(query, key, value).output[:20]], [linear(query[:20], key[:20], value[:20]).output]) == 0
    )
