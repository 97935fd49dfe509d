"""The compiled kernels as PyTorch operators: widths, batch sizes, threads, strides, NaN, tracing, forked processes."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ops.operators import Call, is_floating, operator_of
from tests.ops.rules import CASES, COMPILED, is_varied
from tests.ops.test_rules import largest_error, run_with_gradients
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fwplab import ops
from fwplab.errors import UserError
from fwplab.ops import RULES, cpu
from fwplab.ops.cpu import library
from fwplab.ops.operator import needs_tape, ordinary

WIDTHS = (1, 3, 4, 7, 8, 16, 17, 33)
BATCHES = (1, 2, 5, 8, 16, 17, 33, 64)


def draw(name: str, *shape: int) -> list[Tensor]:
    """Inputs of a rule."""
    return CASES[name].draw(*shape, torch.Generator().manual_seed(0))


def test_the_library_is_built_and_names_its_variant() -> None:
    assert cpu.available()
    assert cpu.info()["variant"] in ("v2", "v3", "v4", "generic")
    auto = ops.info()["auto"]
    assert auto.keys() == RULES.keys()
    assert all(("cpu" in rule.forms) == (auto[name] == "cpu") for name, rule in RULES.items())
    assert {name for name in auto if auto[name] == "cpu"} >= {
        "linear",
        "delta",
        "recurrent_delta",
        "srwm",
        "elementwise",
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_kernels_equal_the_reference_at_every_width_and_batch_size(name: str, dtype: torch.dtype) -> None:
    tolerance = 2e-4 if dtype == torch.float32 else 1e-10
    for place, width in enumerate(WIDTHS):
        if width == 1 and is_varied(name):  # a normalised vector of one number is constant: its gradient is rounding
            continue
        for batch in (BATCHES[place], BATCHES[-1 - place]):
            inputs = draw(name, batch, 9, 2, width)
            found = run_with_gradients(CASES[name], inputs, "cpu", dtype)
            assert largest_error(found, run_with_gradients(CASES[name], inputs, "reference")) < tolerance, (
                width,
                batch,
            )


@pytest.mark.parametrize("name", COMPILED)
def test_results_are_bit_identical_for_any_number_of_threads(name: str) -> None:
    inputs, threads = draw(name, 33, 40, 3, 8), torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run_with_gradients(CASES[name], inputs, "cpu", torch.float32))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", COMPILED)
def test_nan_stays_in_its_own_sequence(name: str) -> None:
    inputs = draw(name, 17, 12, 2, 8)
    poisoned = [tensor.clone() for tensor in inputs]
    poisoned[0][3, 5] = torch.nan
    clean, found = (CASES[name].rule(*tensors, backend="cpu").output for tensors in (inputs, poisoned))
    others = [row for row in range(17) if row != 3]
    assert torch.equal(clean[others], found[others])
    assert torch.equal(clean[3, :5], found[3, :5])
    assert found[3, 5:].isnan().any()


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("batch", [5, 17])
def test_strided_views_of_one_projection_equal_the_reference(name: str, batch: int) -> None:
    inputs, count = draw(name, batch, 11, 2, 4), CASES[name].sequences
    sequences = [tensor if tensor.dim() == 4 else tensor.unsqueeze(-1) for tensor in inputs[:count]]
    joined = torch.cat([*sequences, torch.zeros(batch, 11, 2, 3)], dim=-1)
    views = joined.split([*(tensor.shape[-1] for tensor in sequences), 3], dim=-1)
    pairs = zip(views, inputs[:count], strict=False)
    strided = [*(view if tensor.dim() == 4 else view.squeeze(-1) for view, tensor in pairs), *inputs[count:]]
    assert not strided[0].is_contiguous()
    found = run_with_gradients(CASES[name], strided, "cpu")
    assert largest_error(found, run_with_gradients(CASES[name], inputs, "reference")) < 1e-10


def operator(name: str, *, packed: bool = False) -> Call:
    """The operator that a case calls, and its arguments."""
    bounds = {"cu_seqlens": torch.tensor([0, 2, 2, 5])} if packed else {}
    return operator_of(CASES[name].rule, *draw(name, 1 if packed else 3, 5, 2, 4), backend="cpu", **bounds)


@pytest.mark.parametrize("packed", [False, True], ids=["batch", "packed"])
@pytest.mark.parametrize("name", COMPILED)
def test_operators_pass_opcheck(name: str, packed: bool) -> None:
    kernel, arguments = operator(name, packed=packed)
    torch.library.opcheck(kernel.operator._opoverload, arguments)


def test_the_tape_is_empty_when_no_gradient_is_needed() -> None:
    forward = importlib.import_module("fwplab.ops.cpu.delta").forward
    inputs = draw("delta", 2, 5, 1, 4)
    weight = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    assert not needs_tape(*inputs)
    assert forward(*inputs, None, weight, None, False)[2].numel() == 0
    assert forward(*inputs, None, weight, None, True)[2].numel() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("width", [4, 7, 8, 16])
@pytest.mark.parametrize("name", COMPILED)
def test_several_heads_over_several_segments_equal_the_reference(name: str, width: int, dtype: torch.dtype) -> None:
    tolerance = 2e-4 if dtype == torch.float32 else 1e-10
    for heads, batch in ((1, 2), (3, 2), (5, 2), (6, 5), (8, 3), (16, 1), (32, 1)):
        inputs = CASES[name].draw(batch, 70, heads, width, torch.Generator().manual_seed(0))
        exact = run_with_gradients(CASES[name], inputs, "reference")
        assert largest_error(run_with_gradients(CASES[name], inputs, "cpu", dtype), exact) < tolerance


@pytest.mark.parametrize("packed", [False, True], ids=["batch", "packed"])
@pytest.mark.parametrize("name", COMPILED)
def test_the_direct_call_gives_the_same_bits_as_the_dispatcher(name: str, packed: bool) -> None:
    kernel, arguments = operator(name, packed=packed)

    def run(call: Callable[..., tuple[Tensor, ...]]) -> list[Tensor]:
        leaves = [x.detach().clone().requires_grad_() if is_floating(x) else x for x in arguments]
        results = call(*leaves)[:2]
        differentiable = [leaf for leaf in leaves if is_floating(leaf)]
        return [*results, *torch.autograd.grad(sum(r.square().sum() for r in results), differentiable)]

    direct, dispatched = run(kernel), run(kernel.operator)
    assert all(torch.equal(a, b) for a, b in zip(direct, dispatched, strict=True))
    assert ordinary(arguments)
    assert "Direct" in str(kernel(*arguments)[0].grad_fn)


def test_dispatch_modes_and_vmap_see_the_operators() -> None:
    inputs = draw("delta", 3, 5, 2, 4)
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with Watch():
        ops.delta(*inputs, backend="cpu")
    assert "fwplab.delta.default" in seen
    stacked = [torch.stack([tensor, tensor]) for tensor in inputs]
    mapped = torch.vmap(lambda *tensors: ops.delta(*tensors, backend="cpu").output)(*stacked)
    assert torch.equal(mapped[0], ops.delta(*inputs, backend="cpu").output)


COMPILE_SCRIPT = """
import sys, torch
from tests.ops.rules import CASES
for name, case in CASES.items():
    inputs = case.draw(3, 5, 2, 4, torch.Generator().manual_seed(0))
    plain, traced = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))
    loss = lambda *tensors: case.rule(*tensors).output.square().sum()
    loss(*plain).backward()
    torch.compiler.reset()
    torch.compile(loss, backend="aot_eager", fullgraph=True)(*traced).backward()
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-12) for a, b in zip(traced, plain)), name
"""


def test_torch_compile_captures_each_rule_in_one_graph() -> None:
    """In a process of its own: the type checks of the test run cannot be traced."""
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE_SCRIPT], check=False, timeout=300, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_importing_the_operators_does_not_import_a_compiler() -> None:
    code = "import sys, fwplab.ops; raise SystemExit('triton' in sys.modules or 'torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


FORK_SCRIPT = """
import os, signal, torch
from fwplab import ops
torch.set_num_threads(2)
inputs = [torch.randn(64, 20, 2, 4) for _ in range(3)]
before = ops.linear(*inputs, backend="cpu").output
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if torch.equal(ops.linear(*inputs, backend="cpu").output, before) else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_kernels_run_with_threads_in_a_forked_process() -> None:
    assert subprocess.run([sys.executable, "-c", FORK_SCRIPT], check=False, timeout=120).returncode == 0


def test_a_backward_pass_without_a_tape_is_an_error() -> None:
    for kernel, arguments in (operator(rule) for rule in ("delta", "recurrent_delta", "srwm")):
        without = (False if argument is True else argument for argument in arguments)
        output = kernel.operator(*without)[0]
        with pytest.raises(RuntimeError, match="did not save the tape"):
            output.sum().backward()


@pytest.mark.parametrize("width", [4, 5], ids=["held", "lanes"])
def test_a_tape_of_another_size_is_an_error(width: int) -> None:
    query, key, value, beta = draw("delta", 9, 5, 2, width)
    weight, backward = query.new_zeros(9, 2, width, width), torch.ops.fwplab.delta_backward.default
    tape = torch.zeros(2, 64, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="no code for this problem"):
        backward(query, query, key, value, beta, None, weight, weight, tape, None)


def test_an_unusable_variant_is_an_error_that_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.CHOICE, "v9")
    library.load.cache_clear()
    try:
        with pytest.raises(UserError, match="'v9' cannot be used here; choose from: v"):
            library.load()
    finally:
        library.load.cache_clear()
