"""Unusual tensors and callers: lazy views, shared memory, wrong shapes, NaN, half precision, autocast, tracing."""

import subprocess
import sys

import pytest
import torch
from tests.ops.rules import CASES, COMPILED, forms, states
from tests.ops.test_rules import largest_error, run_with_gradients
from torch import Tensor

from fwplab import ops
from fwplab.errors import UserError
from fwplab.ops.cpu.delta import delta
from fwplab.ops.packing import count_sequences

FORMS = [(name, form) for name in CASES for form in ("reference", *forms(name))]
CHUNKWISE = [("linear", "chunk"), ("delta", "chunk"), ("gated_delta", "chunk"), ("signed_delta", "chunk")]


def draw(name: str, *shape: int) -> list[Tensor]:
    """Inputs of a rule."""
    return CASES[name].draw(*shape, torch.Generator().manual_seed(0))


def negated(tensor: Tensor) -> Tensor:
    """The same numbers as a view with PyTorch's lazy negation bit."""
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    return view


@pytest.mark.parametrize("name", COMPILED)
def test_lazily_negated_views_equal_the_reference(name: str) -> None:
    inputs = draw(name, 3, 7, 2, 4)
    lazy = [negated(tensor) for tensor in inputs]
    found = run_with_gradients(CASES[name], lazy, "cpu")
    assert largest_error(found, run_with_gradients(CASES[name], inputs, "reference")) < 1e-10
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = CASES[name].rule(*leaves, backend="cpu").output
    unused = {"allow_unused": True, "materialize_grads": True}
    gradients = [
        torch.autograd.grad(output, leaves, make(torch.ones_like(output)), retain_graph=True, **unused)
        for make in (negated, torch.clone)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", COMPILED)
def test_zero_tensors_without_memory_equal_ordinary_zeros(name: str) -> None:
    inputs = draw(name, 3, 7, 2, 4)
    for place, tensor in enumerate(inputs):
        zeros = [*inputs[:place], torch.zeros_like(tensor), *inputs[place + 1 :]]
        virtual = [*inputs[:place], torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype), *inputs[place + 1 :]]
        expected, found = (CASES[name].rule(*each, backend="cpu") for each in (zeros, virtual))
        assert torch.equal(found.output, expected.output)


@pytest.mark.parametrize("name", COMPILED)
def test_expanded_and_overlapping_inputs_equal_contiguous_ones(name: str) -> None:
    inputs = draw(name, 1, 7, 1, 4)
    expanded = [
        tensor.expand(*((3, 7, 2, *tensor.shape[3:]) if place < CASES[name].sequences else (2, *tensor.shape[1:])))
        for place, tensor in enumerate(inputs)
    ]
    dense = [tensor.contiguous() for tensor in expanded]
    scans = [CASES[name].rule(*each, backend="cpu") for each in (expanded, dense)]
    assert torch.equal(scans[0].output, scans[1].output)
    count = CASES[name].sequences
    windows = [tensor[0].unfold(0, 4, 1).movedim(-1, 1) for tensor in draw(name, 1, 9, 2, 4)[:count]]  # share positions
    assert windows[0].untyped_storage().nbytes() < windows[0].numel() * windows[0].element_size()
    rest = draw(name, 1, 9, 2, 4)[count:]
    scans = [CASES[name].rule(*each, *rest, backend="cpu") for each in (windows, [w.contiguous() for w in windows])]
    assert torch.equal(scans[0].output, scans[1].output)


@pytest.mark.parametrize("time", [0, 1, 5, 21])
@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_results_own_exactly_their_memory(name: str, form: str, time: int) -> None:
    case = CASES[name]
    leaves = [tensor.requires_grad_() for tensor in draw(name, 2, time, 2, 4)]
    sequences, rest = leaves[: case.sequences], leaves[case.sequences :]
    start = case.rule(*draw(name, 2, 3, 2, 4), backend="reference").state
    scan = case.rule(*sequences, *rest, initial_state=start, backend=form)
    results = [scan.output, *states(scan)]
    gradients: list[Tensor] = []
    if scan.output.requires_grad and time:
        found = torch.autograd.grad(sum(result.sum() for result in results), leaves, allow_unused=True)
        gradients = [gradient for gradient in found if gradient is not None]
    given = start if isinstance(start, tuple) else (start,)
    places = [tensor.untyped_storage().data_ptr() for tensor in (*leaves, *given) if tensor.numel()]
    for tensor in results:
        storage = tensor.untyped_storage()
        assert storage.nbytes() == tensor.numel() * tensor.element_size()
        assert not tensor.numel() or storage.data_ptr() not in places
        places.append(storage.data_ptr())
    if form == "cpu":  # PyTorch allocates the gradients of the other forms
        sizes = [(gradient.untyped_storage().nbytes(), gradient.numel() * 8) for gradient in gradients]
        assert all(bytes_held == needed for bytes_held, needed in sizes)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_nan_and_infinity_do_not_reach_earlier_positions_or_other_heads(name: str, form: str, value: float) -> None:
    case = CASES[name]
    inputs, count = draw(name, 2, 37, 2, 4), case.sequences
    clean = case.rule(*inputs, backend=form).output
    for place in range(count):
        for position in (5, 16):
            changed = [tensor.clone() for tensor in inputs]
            changed[place][0, position, 1] = value
            output = case.rule(*changed, backend=form).output
            torch.testing.assert_close(output[:, :position], clean[:, :position], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(output[1], clean[1], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(output[:, :, 0], clean[:, :, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("name", "form"), CHUNKWISE, ids=str)
def test_the_chunkwise_form_is_nan_wherever_the_reference_is(name: str, form: str) -> None:
    inputs = draw(name, 1, 37, 1, 4)
    for place in range(CASES[name].sequences):
        changed = [tensor.clone() for tensor in inputs]
        changed[place].view(37, -1)[14, 0] = torch.nan
        found, expected = (CASES[name].rule(*changed, backend=each) for each in (form, "reference"))
        assert bool((found.output.isnan() | ~expected.output.isnan()).all())
        assert bool((found.state.isnan() | ~expected.state.isnan()).all())


@pytest.mark.parametrize(("name", "form"), CHUNKWISE, ids=str)
def test_nan_in_the_padding_does_not_change_earlier_gradients(name: str, form: str) -> None:
    gradients = []
    for backend in (form, "reference"):
        leaves = draw(name, 2, 21, 2, 4)
        leaves[2][:, 14:] = torch.nan
        leaves = [tensor.requires_grad_() for tensor in leaves]
        loss = CASES[name].rule(*leaves, backend=backend).output[:, :14].square().sum()
        gradients.append([gradient[:, :14] for gradient in torch.autograd.grad(loss, leaves)])
    assert largest_error(*gradients) < 1e-10


WRONG_SHAPES_SCRIPT = """
import torch
from fwplab.errors import UserError
from tests.ops.rules import CASES, forms
for name, case in CASES.items():
    inputs = case.draw(2, 6, 2, 4, torch.Generator().manual_seed(0))
    start = case.rule(*inputs, backend="reference").state
    more = tuple(torch.cat([s, s[:1]]) for s in start) if isinstance(start, tuple) else torch.cat([start, start[:1]])
    wrong = [[*inputs[:p], torch.cat([x, x], dim=1), *inputs[p + 1 :]] for p, x in enumerate(inputs) if p]
    wrong += [[*inputs[:p], x[0], *inputs[p + 1 :]] for p, x in enumerate(inputs)]
    for arguments, options in [*((each, {}) for each in wrong), (inputs, {"initial_state": more})]:
        messages = set()
        for form in ("reference", *forms(name), "auto"):
            try:
                case.rule(*arguments, backend=form, **options)
            except UserError as refused:
                messages.add(str(refused))
            else:
                raise AssertionError((name, form, [tensor.shape for tensor in arguments]))
        (line,) = messages
        assert "\\n" not in line
"""


def test_all_forms_refuse_wrong_shapes_with_the_same_message() -> None:
    """In a process of its own: here, the type checks of the test run would raise first."""
    ran = subprocess.run(
        [sys.executable, "-c", WRONG_SHAPES_SCRIPT], check=False, timeout=300, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_fast_forms_compute_half_precision_in_float32(name: str, form: str, dtype: torch.dtype) -> None:
    """The reference computes in half precision: its state is rounded at every step, also under `prefer`."""
    inputs = [tensor.to(dtype).requires_grad_() for tensor in draw(name, 2, 9, 2, 4)]
    if form == "reference":
        found = CASES[name].rule(*inputs, backend=form)
        assert {found.output.dtype, *(part.dtype for part in states(found))} == {dtype}
        with ops.prefer("reference"):
            assert torch.equal(CASES[name].rule(*inputs).output, found.output)
        return
    single = [tensor.detach().float().requires_grad_() for tensor in inputs]
    found, expected = (CASES[name].rule(*each, backend=form) for each in (inputs, single))
    assert found.output.dtype == dtype
    assert torch.equal(found.output, expected.output.to(dtype))
    assert all(torch.equal(a, b) for a, b in zip(states(found), states(expected), strict=True))
    found.output.float().sum().backward()
    assert all(tensor.grad is None or tensor.grad.dtype == dtype for tensor in inputs)


@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_autocast_changes_nothing_on_a_cpu(name: str, form: str) -> None:
    inputs = [tensor.float() for tensor in draw(name, 2, 9, 2, 4)]
    plain = CASES[name].rule(*inputs, backend=form)
    with torch.autocast("cpu", torch.bfloat16):
        found = CASES[name].rule(*inputs, backend=form)
        mixed = CASES[name].rule(inputs[0].bfloat16(), *inputs[1:], backend=form)
    assert torch.equal(found.output, plain.output)
    assert mixed.output.dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", COMPILED)
def test_a_traced_function_computes_on_new_inputs(name: str) -> None:
    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        scan = CASES[name].rule(*tensors, backend="cpu")
        return scan.output, *states(scan)

    inputs = draw(name, 2, 6, 2, 4)
    traced = torch.jit.trace(run, tuple(inputs))
    others = [(0.9 * tensor).requires_grad_() for tensor in inputs]
    assert all(torch.equal(a, b) for a, b in zip(traced(*others), run(*others), strict=True))
    options = {"allow_unused": True, "materialize_grads": True}
    gradients = [list(torch.autograd.grad(f(*others)[0].sum(), others, **options)) for f in (traced, run)]
    assert largest_error(*gradients) < 1e-12


def test_bounds_that_are_not_an_integer_tensor_are_refused() -> None:
    with pytest.raises(UserError, match=r"cu_seqlens must be a tensor .*, not a list"):
        count_sequences("delta", torch.zeros(1, 5, 1, 2), [0, 5])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cu_seqlens must be whole numbers"):
        count_sequences("delta", torch.zeros(1, 1, 1, 2), torch.tensor([False, True]))


@pytest.mark.parametrize("bounds", [[0, 3], [1, 5], [0, 4, 3, 5], [0, 9]], ids=str)
def test_the_kernels_check_the_bounds_themselves(bounds: list[int]) -> None:
    inputs = draw("delta", 1, 5, 1, 4)
    state = torch.zeros(len(bounds) - 1, 1, 4, 4, dtype=torch.float64)
    with pytest.raises(UserError, match="cu_seqlens must be whole numbers"):
        delta(*inputs, None, state, cu_seqlens=torch.tensor(bounds))


COMPILE_SCRIPT = """
import torch
from tests.ops.rules import CASES
from fwplab.errors import UserError
bounds = torch.tensor([0, 3, 3, 9])
for name, case in CASES.items():
    inputs = case.draw(1, 9, 2, 4, torch.Generator().manual_seed(0))
    plain, traced = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))
    loss = lambda bounds, *tensors: case.rule(*tensors, cu_seqlens=bounds).output.square().sum()
    loss(bounds, *plain).backward()
    for backend in ("eager", "aot_eager"):
        torch.compiler.reset()
        for tensor in traced:
            tensor.grad = None
        compiled = torch.compile(loss, backend=backend, fullgraph=True)
        compiled(bounds, *traced).backward()
        for a, b in zip(traced, plain):
            assert (a.grad is None) == (b.grad is None), name
            assert a.grad is None or torch.allclose(a.grad, b.grad, rtol=1e-12), name
        other = torch.tensor([0, 5, 7, 9])
        assert torch.equal(compiled(other, *inputs), loss(other, *inputs)), name
        try:
            compiled(torch.tensor([0, 5, 7, 99]), *inputs)
        except UserError:
            continue
        raise AssertionError(f"{name}: wrong bounds were read")
"""


def test_torch_compile_captures_packed_batches_in_one_graph() -> None:
    """In a process of its own: the type checks of the test run cannot be traced."""
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE_SCRIPT], check=False, timeout=300, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_a_named_backend_runs_in_half_precision() -> None:
    inputs = [tensor.half() for tensor in draw("srwm", 2, 5, 2, 4)]
    assert ops.srwm(*inputs, backend="cpu").output.dtype == torch.float16
