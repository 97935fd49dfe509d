"""Every Triton kernel against its rule's reference: outputs, states and all gradients, over shapes and dtypes."""

import pytest
import torch
from tests.triton.cases import CASES, DEVICE, Arguments, draw, kernel, largest_error, reference, run_with_gradients
from torch import Tensor
from torch.func import vmap

SHAPES = [(1, 1, 1, 1), (2, 17, 1, 3), (1, 5, 2, 5), (1, 16, 1, 16), (1, 18, 1, 33), (1, 3, 1, 65), (2, 0, 2, 4)]
CHUNKWISE = ("linear", "delta", "gated_delta")
BOUNDS = torch.tensor([0, 5, 5, 23, 24], device=DEVICE)


def differentiable(name: str, arguments: Arguments) -> Arguments:
    """Copies of the arguments that require gradients."""
    return [None if a is None else a.clone().requires_grad_() for a in arguments]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_reference_in_float64(name: str, shape: tuple[int, ...]) -> None:
    arguments = draw(name, *shape)
    assert largest_error(*(run_with_gradients(rule(name), arguments) for rule in (kernel, reference))) < 1e-10


@pytest.mark.parametrize("widths", [(5, 3), (3, 40), (40, 17), (128, 8)], ids=str)
@pytest.mark.parametrize("name", CHUNKWISE)
def test_values_of_another_width_than_keys(name: str, widths: tuple[int, int]) -> None:
    arguments = draw(name, 1, 36, 1, widths[0], values=widths[1])
    assert largest_error(*(run_with_gradients(rule(name), arguments) for rule in (kernel, reference))) < 1e-10


@pytest.mark.parametrize("name", CASES)
def test_packed_sequences_of_unequal_lengths_equal_the_reference(name: str) -> None:
    arguments = draw(name, 1, 24, 1, 4, sequences=4)
    found = run_with_gradients(kernel(name, BOUNDS), arguments)
    assert largest_error(found, run_with_gradients(reference(name, BOUNDS), arguments)) < 1e-10


@pytest.mark.parametrize("name", ["linear", "gated_delta", "elementwise"])
def test_packed_sequences_that_end_with_a_chunk_equal_the_reference(name: str) -> None:
    bounds = torch.tensor([0, 32, 32, 64, 65], dtype=torch.int32, device=DEVICE)
    arguments = draw(name, 1, 65, 1, 3, sequences=4)
    found = run_with_gradients(kernel(name, bounds), arguments)
    assert largest_error(found, run_with_gradients(reference(name, bounds), arguments)) < 1e-10


@pytest.mark.parametrize("name", ["recurrent_delta", "srwm"])
def test_gradients_over_several_saved_states_equal_the_reference(name: str) -> None:
    arguments = draw(name, 1, 34, 1, 3)
    assert largest_error(*(run_with_gradients(rule(name), arguments) for rule in (kernel, reference))) < 1e-10


@pytest.mark.parametrize("name", ["linear", "gated_delta", "recurrent_delta", "elementwise"])
def test_strided_views_of_one_projection_equal_the_reference(name: str) -> None:
    arguments, rows = draw(name, 2, 5, 2, 4), CASES[name].sequences
    columns = [a.unsqueeze(-1) if a.dim() == 3 else a for a in arguments[:rows] if a is not None]
    joined = torch.cat(columns, dim=-1)
    views: Arguments = list(joined.split([column.shape[-1] for column in columns], dim=-1))
    views = [view.squeeze(-1) if a.dim() == 3 else view for view, a in zip(views, arguments, strict=False)]
    transposed = [state.mT.contiguous().mT if state.dim() == 4 else state for state in arguments[rows:]]
    assert not views[0].is_contiguous()
    found = run_with_gradients(kernel(name), [*views, *transposed])
    assert largest_error(found, run_with_gradients(reference(name), arguments)) < 1e-10


@pytest.mark.parametrize("name", CASES)
def test_noncontiguous_rows_equal_contiguous_ones(name: str) -> None:
    arguments = draw(name, 1, 3, 2, 3)
    scattered = [None if a is None else a.flip(-1).flip(-1).mT.contiguous().mT for a in arguments]
    found, expected = (run_with_gradients(kernel(name), tensors) for tensors in (scattered, arguments))
    assert largest_error(found, expected) < 1e-12


@pytest.mark.parametrize("cut", [0, 4])
@pytest.mark.parametrize("name", CASES)
def test_split_sequence_equals_whole(name: str, cut: int) -> None:
    arguments, case = draw(name, 1, 9, 1, 3), CASES[name]
    rows, rest = arguments[: case.sequences], arguments[case.sequences : len(arguments) - case.states]
    states = arguments[len(arguments) - case.states :]
    whole = kernel(name)(*arguments)
    first = kernel(name)(*(None if r is None else r[:, :cut] for r in rows), *rest, *states)
    second = kernel(name)(*(None if r is None else r[:, cut:] for r in rows), *rest, *first[1:])
    assert largest_error([torch.cat([first[0], second[0]], dim=1), *second[1:]], list(whole)) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_errors_in_float32_are_at_most_twice_the_reference_s(name: str) -> None:
    arguments = [None if a is None else a.float() for a in draw(name, 1, 20, 1, 6)]
    exact = run_with_gradients(reference(name), arguments)
    own = run_with_gradients(reference(name), arguments, torch.float32)
    for result, loop, truth in zip(run_with_gradients(kernel(name), arguments, torch.float32), own, exact, strict=True):
        rounding = torch.finfo(torch.float32).eps * truth.abs().max()
        assert result.dtype == torch.float32
        assert (result.double() - truth).abs().max() <= 2 * (loop.double() - truth).abs().max() + 4 * rounding


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_is_used_only_for_inputs_and_outputs(name: str) -> None:
    """Inputs, outputs and their gradients are bfloat16. States and all intermediate values are float32."""
    arguments = [None if a is None else a.bfloat16().float() for a in draw(name, 1, 6, 1, 4)]
    case = CASES[name]
    states = len(arguments) - case.states
    halves = [a if a is None or place >= states else a.bfloat16() for place, a in enumerate(arguments)]
    rounding = []
    for tensors in (halves, arguments):
        leaves = differentiable(name, tensors)
        results = kernel(name)(*leaves)
        cotangents = [torch.linspace(-1, 1, r.numel()).view(r.shape).bfloat16().to(r) for r in results]
        gradients = torch.autograd.grad(results, [leaf for leaf in leaves if leaf is not None], cotangents)
        rounding.append([*results, *gradients])
    kinds = [halves[0].dtype, *(torch.float32,) * case.states, *(a.dtype for a in halves if a is not None)]
    for half, full, kind in zip(*rounding, kinds, strict=True):
        assert half.dtype == kind
        allowed = (
            torch.finfo(kind).eps * full.abs() + 1e-6 * full.abs().max()
        )  # the interpreter truncates where a GPU rounds
        assert bool(((half.float() - full).abs() <= allowed).all())


def test_dtypes_may_differ_between_arguments() -> None:
    query, key, value, beta, decay, state = (a for a in draw("gated_delta", 1, 9, 1, 3) if a is not None)
    arguments: Arguments = [*(a.bfloat16() for a in (query, key, value)), beta.float(), decay.float(), state.bfloat16()]
    leaves = differentiable("gated_delta", arguments)
    output, last = kernel("gated_delta")(*leaves)
    expected = reference("gated_delta")(*(None if a is None else a.double() for a in arguments))
    assert (output.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    assert largest_error([last], [expected[1]]) < 1e-6
    (output.float().sum() + last.sum()).backward()
    assert [leaf.grad.dtype for leaf in leaves] == [leaf.dtype for leaf in leaves]


@pytest.mark.parametrize("name", CASES)
def test_population_equals_its_members(name: str) -> None:
    members = [draw(name, 2, 3, 1, 3, seed=seed) for seed in range(2)]
    present = [place for place, a in enumerate(members[0]) if a is not None]
    stacked = [torch.stack([member[place] for member in members]).requires_grad_() for place in present]

    def rule(*tensors: Tensor) -> tuple[Tensor, ...]:
        arguments: Arguments = [None] * len(members[0])
        for place, tensor in zip(present, tensors, strict=True):
            arguments[place] = tensor
        return kernel(name)(*arguments)

    results = vmap(rule)(*stacked)
    cotangents = [torch.linspace(-1, 1, r.numel(), dtype=r.dtype, device=DEVICE).view(r.shape) for r in results]
    together = [*results, *torch.autograd.grad(results, stacked, cotangents)]
    for index in range(2):
        leaves = [tensor[index].detach().requires_grad_() for tensor in stacked]
        alone = rule(*leaves)
        separate = [*alone, *torch.autograd.grad(alone, leaves, [c[index] for c in cotangents])]
        assert largest_error([tensor[index] for tensor in together], separate) < 1e-12


def test_population_with_shared_arguments_and_packed_sequences() -> None:
    query, key, value, state = draw("linear", 1, 24, 2, 3, sequences=4)
    queries = torch.stack([query, 2 * query])
    output, last = vmap(lambda q: kernel("linear", BOUNDS)(q, key, value, state))(queries)
    expected = reference("linear", BOUNDS)(query, key, value, state)
    assert largest_error([output[0], output[1] / 2, last[1]], [expected[0], *expected]) < 1e-12


def test_gradients_of_one_result_alone_equal_the_reference() -> None:
    for name in CASES:
        arguments = draw(name, 1, 2, 1, 2)
        for index in range(1 + CASES[name].states):
            gradients = []
            for rule in (kernel, reference):
                leaves = differentiable(name, arguments)
                inputs = [leaf for leaf in leaves if leaf is not None]
                total = rule(name)(*leaves)[index].square().sum()
                gradients.append(list(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)))
            assert largest_error(*gradients) < 1e-10


def test_repeated_keys_and_strong_writes_stay_stable() -> None:
    """For these inputs, a power series for the linear system of a chunk would overflow float32."""
    arguments = draw("signed_delta", 1, 48, 1, 4)
    assert arguments[1] is not None
    assert arguments[3] is not None
    arguments[1] = arguments[1][:, :1].expand_as(arguments[1])
    arguments[3] = torch.full_like(arguments[3], 1.95)
    found = run_with_gradients(kernel("signed_delta"), arguments, torch.float32)
    assert largest_error(found, run_with_gradients(reference("signed_delta"), arguments)) < 1e-5


def test_nan_stays_in_its_own_sequence() -> None:
    for name in CASES:
        arguments = draw(name, 2, 4, 1, 3)
        poisoned = [None if a is None else a.clone() for a in arguments]
        assert poisoned[0] is not None
        poisoned[0][0, 2] = torch.nan
        clean, found = kernel(name)(*arguments)[0], kernel(name)(*poisoned)[0]
        assert torch.equal(clean[1], found[1])
        assert found[0, 2:].isnan().any()
