"""Derivatives of every order, in forward and reverse mode and by `torch.func`, equal those of the reference."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tests.ops.rules import CASES, states
from tests.ops.test_rules import largest_error
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

from fwplab import ops

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # raised inside PyTorch's forward mode
Function = Callable[..., Tensor]
UNUSED: Any = {"allow_unused": True, "materialize_grads": True}


def draw(name: str) -> list[Tensor]:
    """Small inputs of a rule."""
    return CASES[name].draw(2, 5, 2, 3, torch.Generator().manual_seed(0))


def score(name: str, backend: str, bounds: Tensor | None = None) -> Function:
    """A nonlinear function of the output and the states, so that second derivatives are not 0."""

    def run(*inputs: Tensor) -> Tensor:
        scan = CASES[name].rule(*inputs, backend=backend, cu_seqlens=bounds)
        return scan.output.sin().sum() + sum(state.cos().sum() for state in states(scan))

    return run


def assert_same(name: str, measure: Callable[[Function], list[Tensor]], bounds: Tensor | None = None) -> None:
    """Asserts that `measure` gives the same for the kernel and the reference, and not only zeros."""
    found, expected = (measure(score(name, backend, bounds)) for backend in ("auto", "reference"))
    assert largest_error(found, expected) < 1e-9
    assert any(float(tensor.abs().max()) > 0 for tensor in expected)


@pytest.mark.parametrize("bounds", [None, torch.tensor([0, 2, 2, 5])], ids=["batch", "packed"])
@pytest.mark.parametrize("name", CASES)
def test_gradient_of_a_gradient_penalty(name: str, bounds: Tensor | None) -> None:
    inputs = draw(name) if bounds is None else CASES[name].draw(1, 5, 2, 3, torch.Generator().manual_seed(0))

    def penalty(function: Function) -> list[Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        value = function(*leaves)
        (first,) = torch.autograd.grad(value, leaves[0], create_graph=True)
        (value + (first.norm() - 1) ** 2).backward()
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]

    assert_same(name, penalty, bounds)


@pytest.mark.parametrize("name", CASES)
def test_gradient_penalty_when_the_incoming_gradient_is_constant(name: str) -> None:
    found = []
    for backend in ("auto", "reference"):
        leaves = [tensor.clone().requires_grad_() for tensor in draw(name)]
        total = CASES[name].rule(*leaves, backend=backend).output.sum()
        firsts = torch.autograd.grad(total, leaves, create_graph=True, **UNUSED)
        (total + sum((first.norm() - 1) ** 2 for first in firsts)).backward()
        found.append([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves])
    assert largest_error(*found) < 1e-9


@pytest.mark.parametrize("name", CASES)
def test_hessian_vector_products(name: str) -> None:
    inputs = tuple(draw(name))
    vectors = tuple(torch.ones_like(tensor) for tensor in inputs)
    assert_same(name, lambda f: list(torch.autograd.functional.hvp(f, inputs, vectors)[1]))
    assert_same(name, lambda f: list(torch.autograd.functional.vhp(f, inputs, vectors)[1]))


@pytest.mark.parametrize("name", CASES)
def test_third_derivatives(name: str) -> None:
    inputs = draw(name)

    def third(function: Function) -> list[Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        value = function(*leaves)
        for _ in range(2):
            (first,) = torch.autograd.grad(value, leaves[0], create_graph=True)
            value = first.square().sum()
        return list(torch.autograd.grad(value, leaves, **UNUSED))

    assert_same(name, third)


@pytest.mark.parametrize("name", CASES)
def test_forward_mode(name: str) -> None:
    inputs = tuple(draw(name))
    tangents = tuple(torch.ones_like(tensor) for tensor in inputs)
    assert_same(name, lambda f: list(jvp(f, inputs, tangents)))
    assert_same(name, lambda f: [jacfwd(f)(*inputs)])

    def dual(function: Function) -> list[Tensor]:
        with forward_ad.dual_level():
            made = (forward_ad.make_dual(tensor, tangent) for tensor, tangent in zip(inputs, tangents, strict=True))
            tangent = forward_ad.unpack_dual(function(*made)).tangent
            assert tangent is not None
            return [tangent]

    assert_same(name, dual)


@pytest.mark.parametrize("name", CASES)
def test_forward_mode_through_a_backward_pass(name: str) -> None:
    inputs = draw(name)

    def tangent_of_gradient(function: Function) -> list[Tensor]:
        leaf = inputs[0].clone().requires_grad_()
        value = function(leaf, *inputs[1:])
        with forward_ad.dual_level():
            cotangent = forward_ad.make_dual(torch.ones_like(value), torch.full_like(value, 2.0))
            (gradient,) = torch.autograd.grad(value, leaf, cotangent)
            tangent = forward_ad.unpack_dual(gradient).tangent
            assert tangent is not None
            return [tangent]

    assert_same(name, tangent_of_gradient)


@pytest.mark.parametrize("name", CASES)
def test_transforms_of_torch_func(name: str) -> None:
    inputs = tuple(draw(name))
    every = tuple(range(len(inputs)))
    assert_same(name, lambda f: list(grad(f, argnums=every)(*inputs)))
    assert_same(name, lambda f: list(jacrev(f, argnums=every)(*inputs)))
    assert_same(name, lambda f: [hessian(f)(*inputs)])
    assert_same(name, lambda f: [grad(lambda *x: grad(f)(*x).square().sum())(*inputs)])
    assert_same(name, lambda f: [jacrev(grad(f))(*inputs)])


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_member_of_a_population(name: str) -> None:
    members = [CASES[name].draw(2, 5, 2, 3, torch.Generator().manual_seed(seed)) for seed in range(3)]
    stacked = [torch.stack(tensors) for tensors in zip(*members, strict=True)]
    every = tuple(range(len(stacked)))
    assert_same(name, lambda f: list(vmap(grad(f, argnums=every))(*stacked)))
    assert_same(name, lambda f: [grad(lambda *x: vmap(f)(*x).square().sum())(*stacked)])
    assert_same(name, lambda f: [vmap(grad(lambda *x: grad(f)(*x).square().sum()))(*stacked)])
    separate = [grad(score(name, "reference"), argnums=every)(*member) for member in members]
    together = vmap(grad(score(name, "auto"), argnums=every))(*stacked)
    assert largest_error(list(together), [torch.stack(tensors) for tensors in zip(*separate, strict=True)]) < 1e-9


@pytest.mark.parametrize("name", CASES)
def test_batched_gradients(name: str) -> None:
    inputs = draw(name)
    found = []
    for backend in ("auto", "reference"):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        output = CASES[name].rule(*leaves, backend=backend).output
        many = torch.randn(3, *output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(1))
        batched = partial(torch.autograd.grad, output, grad_outputs=many, is_grads_batched=True, **UNUSED)
        (once,) = batched(leaves[:1], create_graph=True)
        found.append([*batched(leaves, retain_graph=True), *torch.autograd.grad(once.sin().sum(), leaves, **UNUSED)])
    assert largest_error(*found) < 1e-9


class Layer(torch.nn.Module):
    """A rule as a module whose parameters are its inputs."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend = backend
        for place, tensor in enumerate(draw("delta")):
            self.register_parameter(f"input_{place}", torch.nn.Parameter(tensor))

    def forward(self) -> Tensor:
        return score("delta", self.backend)(*self.parameters())


def test_gradients_through_functional_call() -> None:
    found = []
    for backend in ("auto", "reference"):
        layer = Layer(backend)
        own = grad(lambda parameters, layer=layer: functional_call(layer, parameters, ()))(
            dict(layer.named_parameters())
        )
        found.append(list(own.values()))
    assert largest_error(*found) < 1e-9


@pytest.mark.parametrize("name", ["linear", "gated_delta", "recurrent_delta", "srwm", "elementwise"])
def test_second_derivatives_by_finite_differences(name: str) -> None:
    inputs = [x.requires_grad_() for x in CASES[name].draw(1, 3, 1, 2, torch.Generator().manual_seed(0))]

    def results(*leaves: Tensor) -> tuple[Tensor, ...]:
        scan = CASES[name].rule(*leaves, backend="cpu")
        return scan.output, *states(scan)

    assert torch.autograd.gradgradcheck(results, inputs)


def test_first_derivatives_are_computed_by_the_kernel() -> None:
    """The reference is used only for higher derivatives."""
    inputs = [x.requires_grad_() for x in draw("delta")]
    output = ops.delta(*inputs, backend="cpu").output
    assert "Direct" in str(output.grad_fn)
    (gradient,) = torch.autograd.grad(output.sum(), inputs[0], create_graph=True)
    assert "Gradient" in str(gradient.grad_fn)


COMPILE_SCRIPT = """
import torch, warnings
warnings.simplefilter("ignore")
from tests.ops.rules import CASES
for name in ("linear", "gated_delta", "recurrent_delta", "srwm", "elementwise"):
    inputs = tuple(CASES[name].draw(2, 3, 2, 3, torch.Generator().manual_seed(0)))
    loss = lambda *x: CASES[name].rule(*x).output.sin().sum()
    for transform in (lambda *x: torch.func.jvp(loss, x, x)[1], lambda *x: torch.func.grad(loss)(*x)):
        torch.compiler.reset()
        found = torch.compile(transform, backend="aot_eager", fullgraph=True)(*inputs)
        torch.testing.assert_close(found, transform(*inputs))
"""


def test_transforms_of_torch_func_inside_torch_compile() -> None:
    """In a process of its own: the type checks of the test run cannot be traced."""
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE_SCRIPT], check=False, timeout=300, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
