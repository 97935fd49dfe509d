"""Packed batches: concatenated sequences of unequal lengths give the same results as separate sequences."""

import pytest
import torch
from tests.ops.rules import CASES, COMPILED, Case, forms, states
from tests.ops.test_rules import largest_error
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops import RULES
from fwplab.ops.packing import check_bounds

LENGTHS = {
    "few": [5, 0, 3],
    "one": [9],
    "many": [7, 1, 0, 12, 12, 3, 40, 2, 5, 0, 1, 6, 33, 8, 9, 10, 11, 4, 2, 16, 17, 1],
    "empty": [0, 0],
}
FORMS = [(name, form) for name in CASES for form in ("reference", *forms(name))]


def bounds(lengths: list[int]) -> Tensor:
    """`cu_seqlens` of these lengths."""
    return torch.tensor([0, *lengths]).cumsum(0)


def draw(
    name: str, lengths: list[int], heads: int, width: int
) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]]:
    """Sequences packed into a batch of 1, slow weights, and an initial state of each sequence."""
    case, generator = CASES[name], torch.Generator().manual_seed(4)
    inputs = case.draw(1, sum(lengths), heads, width, generator)
    like = states(case.rule(*case.draw(len(lengths), 2, heads, width, generator), backend="reference"))
    return inputs[: case.sequences], inputs[case.sequences :], like


def gradients(results: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """The results, and the gradients of a random linear function of them."""
    generator = torch.Generator().manual_seed(5)
    total = sum((torch.randn(r.shape, dtype=r.dtype, generator=generator) * r).sum() for r in results)
    assert isinstance(total, Tensor)
    return [*results, *torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_packed_sequences_equal_separate_ones(name: str, form: str, lengths: str) -> None:
    case, own = CASES[name], LENGTHS[lengths]
    for heads, width in ((2, 4), (8, 5), (2, 17)) if form == "cpu" else ((2, 4),):
        sequences, slow, start = draw(name, own, heads, width)
        leaves = [tensor.clone().requires_grad_() for tensor in (*sequences, *slow, *start)]
        along, rest = leaves[: len(sequences)], leaves[len(sequences) : len(leaves) - len(start)]
        initial = tuple(leaves[-len(start) :])
        packed = case.rule(
            *along,
            *rest,
            initial_state=initial if len(initial) > 1 else initial[0],
            cu_seqlens=bounds(own),
            backend=form,
        )
        found = gradients([packed.output, *states(packed)], leaves)
        scans = []
        for index, (first, last) in enumerate(zip(bounds(own)[:-1], bounds(own)[1:], strict=True)):
            state = tuple(tensor[index : index + 1] for tensor in initial)
            pieces = [tensor[:, first:last] for tensor in along]
            scans.append(
                case.rule(*pieces, *rest, initial_state=state if len(state) > 1 else state[0], backend="reference")
            )
        together = [torch.cat(parts) for parts in zip(*(states(scan) for scan in scans), strict=True)]
        output = torch.cat([scan.output for scan in scans], dim=1)
        assert largest_error(found, gradients([output, *together], leaves)) < 1e-10


@pytest.mark.parametrize("name", CASES)
def test_nan_in_a_neighbour_changes_no_bit_of_a_sequence(name: str) -> None:
    case, own = CASES[name], LENGTHS["many"]
    sequences, slow, _ = draw(name, own, 2, 8)
    first, last = (int(bound) for bound in bounds(own)[6:8])
    outputs = []
    for poison in (0.0, torch.nan):
        changed = [tensor.clone() for tensor in sequences]
        for tensor in changed:
            tensor[:, :first] += poison
            tensor[:, last:] += poison
        outputs.append(case.rule(*changed, *slow, cu_seqlens=bounds(own)).output[:, first:last])
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    "bad",
    [[0, 3], [1, 5], [0, 4, 3, 5], [0.0, 5.0], []],
    ids=["ends early", "starts late", "decreasing", "floating-point", "empty"],
)
def test_invalid_bounds_are_refused(bad: list[float]) -> None:
    with pytest.raises(UserError, match="cu_seqlens must be whole numbers"):
        check_bounds("delta", torch.tensor(bad), 1, 5)


def test_packed_sequences_in_a_larger_batch_are_refused() -> None:
    inputs = CASES["delta"].draw(2, 5, 1, 2, torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="a batch of 1"):
        CASES["delta"].rule(*inputs, cu_seqlens=torch.tensor([0, 5]))


NEIGHBOURS = (9, 40, 3, 9, 21, 9, 9, 6, 9, 9, 9, 12)
OVERFLOWS = 1
"""Index of the longest sequence, whose values overflow. The next sequence ends with an infinite value."""


def packed_run(case: Case, inputs: list[Tensor], lengths: tuple[int, ...]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Output and gradients of the sequences, and the final states."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    scan = case.rule(*leaves, cu_seqlens=bounds(list(lengths)), backend="cpu")
    results = [scan.output, *states(scan)]
    weights = [torch.ones_like(result) for result in results]
    return [scan.output, *torch.autograd.grad(results, leaves[: case.sequences], weights)], states(scan)


@pytest.mark.parametrize(("heads", "width"), [(2, 6), (8, 5), (2, 8), (1, 20)], ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_overflow_in_a_neighbour_changes_no_bit_of_a_sequence(name: str, heads: int, width: int) -> None:
    case, starts = CASES[name], bounds(list(NEIGHBOURS)).tolist()
    sequences, slow, _ = draw(name, list(NEIGHBOURS), heads, width)
    inputs = [tensor.float() for tensor in (*sequences, *slow)]
    first, end = starts[OVERFLOWS : OVERFLOWS + 2]
    for tensor in inputs[: case.sequences]:
        if tensor.dim() == 4:
            tensor[:, first + 8 : end] *= 1e30
            tensor[:, end - 9 : end] = torch.inf
    names = list(RULES[case.module].sequences)
    value = inputs[names.index("value") if "value" in names else 0]
    value[:, starts[OVERFLOWS + 2] - 1] = torch.inf
    together, last = packed_run(case, inputs, NEIGHBOURS)
    assert not together[0][:, first:end].isfinite().all() or case.module == "elementwise"
    for place in (0, OVERFLOWS + 1, 4, 7):
        length = NEIGHBOURS[place]
        own = slice(starts[place], starts[place] + length)
        copies = [
            tensor[:, own].repeat(1, len(NEIGHBOURS), *[1] * (tensor.dim() - 2)) for tensor in inputs[: case.sequences]
        ]
        alone, alone_last = packed_run(case, [*copies, *inputs[case.sequences :]], (length,) * len(NEIGHBOURS))
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found[:, own], expected[:, :length], rtol=0, atol=0, equal_nan=True)
        for found, expected in zip(last, alone_last, strict=True):
            torch.testing.assert_close(found[place], expected[0], rtol=0, atol=0, equal_nan=True)
