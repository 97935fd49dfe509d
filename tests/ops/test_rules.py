"""Every fast form of every rule against the reference: outputs, states and all gradients."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.ops.rules import CASES, Case, forms, is_varied, states
from torch import Tensor
from torch.func import vmap

from fwplab import ops
from fwplab.errors import UserError
from fwplab.ops import triton
from fwplab.ops.cpu import library
from fwplab.ops.scan import warn_once

FAST = [(name, form) for name in CASES for form in forms(name)]
SHAPES = [(2, 17, 3, 8), (1, 1, 1, 1), (3, 64, 2, 4), (5, 65, 1, 7), (17, 33, 2, 16), (2, 130, 2, 5), (2, 0, 2, 4)]
GOLDEN = Path(__file__).parent.parent / "golden"


def run_with_gradients(
    case: Case, inputs: list[Tensor], backend: str, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Output, state, and gradients of a random linear function of both, computed in `dtype`, returned in float64."""
    leaves = [tensor.to(dtype).requires_grad_() for tensor in inputs]
    scan = case.rule(*leaves, backend=backend)
    results = [scan.output, *states(scan)]
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(r.shape, dtype=torch.float64, generator=generator).to(dtype) for r in results]
    moving = [(result, c) for result, c in zip(results, cotangents, strict=True) if result.requires_grad]
    if not moving:  # a sequence of length 0 returns the initial state
        return [tensor.detach().double() for tensor in results] + [torch.zeros_like(leaf) for leaf in leaves]
    differentiable, weights = zip(*moving, strict=True)
    gradients = torch.autograd.grad(differentiable, leaves, weights, allow_unused=True, materialize_grads=True)
    return [tensor.detach().double() for tensor in (*results, *gradients)]


def largest_error(left: list[Tensor], right: list[Tensor]) -> float:
    """The largest error over all tensors, relative to the largest value of each."""
    errors = [
        float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1e-30))
        for a, b in zip(left, right, strict=True)
        if b.numel()
    ]
    return max(errors, default=0.0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "form"), FAST, ids=str)
def test_fast_form_equals_reference_in_float64(name: str, form: str, shape: tuple[int, ...]) -> None:
    case = CASES[name]
    if is_varied(name) and shape[-1] == 1:  # a normalised vector of one number is constant: its gradient is rounding
        return
    inputs = case.draw(*shape, torch.Generator().manual_seed(0))
    assert largest_error(run_with_gradients(case, inputs, form), run_with_gradients(case, inputs, "reference")) < 1e-10


@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[2:6], ids=str)
@pytest.mark.parametrize(("name", "form"), FAST, ids=str)
def test_fast_form_errors_in_float32_are_at_most_twice_the_reference_s(
    name: str, form: str, shape: tuple[int, ...]
) -> None:
    case = CASES[name]
    inputs = case.draw(*shape, torch.Generator().manual_seed(0))
    exact = run_with_gradients(case, [tensor.float() for tensor in inputs], "reference")
    own = run_with_gradients(case, inputs, "reference", torch.float32)
    fast = run_with_gradients(case, inputs, form, torch.float32)
    for result, loop, truth in zip(fast, own, exact, strict=True):
        rounding = torch.finfo(torch.float32).eps * truth.norm()
        assert (result - truth).norm() <= 2 * (loop - truth).norm() + 4 * rounding


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("cut", [0, 1, 16, 40])
@pytest.mark.parametrize("name", CASES)
def test_split_sequence_equals_whole(name: str, cut: int, backend: str) -> None:
    case = CASES[name]
    inputs = case.draw(2, 40, 2, 8, torch.Generator().manual_seed(2))
    sequences, rest = inputs[: case.sequences], inputs[case.sequences :]
    whole = case.rule(*inputs, backend=backend)
    first = case.rule(*(s[:, :cut] for s in sequences), *rest, backend=backend)
    second = case.rule(*(s[:, cut:] for s in sequences), *rest, initial_state=first.state, backend=backend)
    parts = [torch.cat([first.output, second.output], dim=1), *states(second)]
    assert largest_error(parts, [whole.output, *states(whole)]) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_gradient_flows_through_the_initial_state(name: str) -> None:
    case = CASES[name]
    inputs = case.draw(2, 20, 2, 4, torch.Generator().manual_seed(3))
    sequences, rest = inputs[: case.sequences], inputs[case.sequences :]
    gradients = []
    for backend in ("auto", "reference"):
        leaves = [s.clone().requires_grad_() for s in sequences]
        first = case.rule(*(s[:, :9] for s in leaves), *rest, backend=backend)
        second = case.rule(*(s[:, 9:] for s in leaves), *rest, initial_state=first.state, backend=backend)
        loss = second.output.square().sum()  # allow_unused: with a fixed rate, beta has no effect
        gradients.append(list(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)))
    assert largest_error(*gradients) < 1e-10


@pytest.mark.parametrize("name", CASES)
def test_population_equals_its_members(name: str) -> None:
    case = CASES[name]
    members = [case.draw(3, 11, 2, 4, torch.Generator().manual_seed(seed)) for seed in range(3)]
    stacked = [torch.stack(tensors).requires_grad_() for tensors in zip(*members, strict=True)]
    scan = vmap(case.rule)(*stacked)
    together = [scan.output, *torch.autograd.grad(scan.output.square().sum(), stacked)]
    for index, inputs in enumerate(members):
        leaves = [tensor.requires_grad_() for tensor in inputs]
        alone = case.rule(*leaves)
        separate = [alone.output, *torch.autograd.grad(alone.output.square().sum(), leaves)]
        assert largest_error([tensor[index] for tensor in together], separate) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_unknown_backend_names_the_choices(name: str) -> None:
    case = CASES[name]
    inputs = case.draw(1, 2, 1, 2, torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="choose from: auto, reference"):
        case.rule(*inputs, backend="quantum")


def test_wrong_variations_are_errors_that_name_the_choices() -> None:
    srwm, recurrent = (
        CASES[name].draw(1, 2, 1, 2, torch.Generator().manual_seed(0)) for name in ("srwm", "recurrent_delta")
    )
    with pytest.raises(UserError, match="unknown rate 'slow'; choose from: sigmoid, double, fixed"):
        ops.Variation(rate="slow")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no block 'gate' rewrites itself; choose from: value, query, key, rate"):
        ops.Variation(rewritten=("gate",))
    with pytest.raises(UserError, match="srwm has no feedback to vary"):
        ops.srwm(*srwm, variation=ops.Variation(feedback="raw"))
    with pytest.raises(UserError, match="recurrent_delta has no rewritten to vary"):
        ops.recurrent_delta(*recurrent, variation=ops.Variation(rewritten=("value",)))
    with pytest.raises(UserError, match="srwm has no backend 'loop'; choose from: auto, reference, cpu"):
        ops.srwm(*srwm, variation=ops.Variation(rate="fixed"), backend="loop")


def test_named_backend_that_cannot_run_raises() -> None:
    inputs = CASES["srwm"].draw(1, 2, 1, 2, torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="backend 'cpu' needs float32 or float64"):
        ops.srwm(*(tensor.to("meta") for tensor in inputs), backend="cpu")


def test_triton_without_a_gpu_is_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = CASES["delta"].draw(1, 2, 1, 2, torch.Generator().manual_seed(0))
    monkeypatch.setitem(triton.FOUND, "why", "there is no CUDA GPU")
    with pytest.raises(UserError, match="backend 'triton' cannot be used on cpu: there is no CUDA GPU"):
        ops.delta(*inputs, backend="triton")


def test_prefer_replaces_the_choice_of_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, ran = CASES["srwm"].draw(2, 3, 1, 4, torch.Generator().manual_seed(0)), []
    forms_of_srwm = ops.RULES["srwm"].forms
    for form in list(forms_of_srwm):

        def record(
            *arguments: Tensor, form: str = form, original: Callable[..., ops.Scan] = forms_of_srwm[form]
        ) -> ops.Scan:
            ran.append(form)
            return original(*arguments)

        monkeypatch.setitem(forms_of_srwm, form, record)
    with ops.prefer("quantum", "loop"):
        ops.srwm(*inputs)
        ops.srwm(*inputs, backend="reference")
    ops.srwm(*inputs)
    assert ran == ["loop", "reference", "cpu"]


def test_auto_without_compiled_kernels_warns_once_and_uses_another_form(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = CASES["delta"].draw(2, 3, 1, 4, torch.Generator().manual_seed(0))
    monkeypatch.setattr(library, "load", lambda: library.Missing("none was built"))
    warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="no compiled CPU kernels \\(none was built\\)") as warned:
        outputs = [ops.delta(*inputs).output for _ in range(2)]
    assert len(warned) == 1
    assert largest_error(outputs[:1], [ops.delta(*inputs, backend="chunk").output]) == 0


def golden(name: str) -> dict[str, Tensor]:
    """A file of values of the published code, `[batch, heads, time, d]`, transposed to `[batch, time, heads, d]`."""

    def to_our_layout(key: str, array: np.ndarray) -> Tensor:
        tensor, argument = torch.from_numpy(array), key.rsplit("/", 1)[-1]
        if argument.startswith(("R_", "r_")):
            return tensor.squeeze(0).squeeze(-2) if argument == "r_b" else tensor.squeeze(0)
        if argument.startswith(("W_", "w_")):
            return tensor
        tensor = tensor.transpose(1, 2)
        return tensor.squeeze(-1) if argument in ("beta", "bx") else tensor

    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: to_our_layout(key, file[key]) for key in file.files}


GOLDEN_FILES = {
    "linear": "op_linear_attention_sum",
    "delta": "op_delta",
    "recurrent_delta": "op_rec_delta",
    "srwm": "op_srwm",
}
GOLDEN_CASES = [(name, backend) for name in GOLDEN_FILES for backend in ("auto", "reference", *forms(name))]


@pytest.mark.parametrize(("name", "backend"), GOLDEN_CASES, ids=str)
def test_rules_equal_recorded_values_of_the_published_code(name: str, backend: str) -> None:
    values = golden(GOLDEN_FILES[name])
    arguments = [key.removeprefix("in/") for key in values if key.startswith("in/")]
    leaves = [values[f"in/{argument}"].contiguous().requires_grad_() for argument in arguments]
    output = CASES[name].rule(*leaves, backend=backend).output
    gradients = torch.autograd.grad(output, leaves, values["cotangent"])
    expected = [values[f"grad/{argument}"] for argument in arguments]
    assert largest_error([output.detach(), *gradients], [values["out"], *expected]) < 1e-10
