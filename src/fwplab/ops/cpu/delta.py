"""The delta rule and the additive rule as one PyTorch operator: compiled forward and analytic backward."""

from typing import Any

import torch
from torch import Tensor

from fwplab.ops.cpu.kernels import (
    Plan,
    call,
    check,
    check_tape,
    fold,
    needs_tape,
    plan,
    sequence,
    state,
    unfold,
    with_rows,
)

WIDEST_LANES = 16
HEAD_AXES = (2, 2, 2, 2, 1)
"""Where each tensor of the forward operator has its heads."""


def delta(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`(query, key, value, beta, W_0) -> (output, W_T)`; `fwplab.ops.delta` has the equations.

    Shapes: `[batch, time, heads, d]` three times, `[batch, time, heads]`, `[batch, heads, d, d]`; float32 or float64.
    Raises `UserError` for anything else.
    """
    tensors = query, key, value, beta, weight
    output, last_weight, _ = forward(*tensors, False, needs_tape(*tensors))
    return output, last_weight


def linear(query: Tensor, key: Tensor, value: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`(query, key, value, W_0) -> (output, W_T)`, as `delta` without the write strength and without erasing."""
    unread = key.detach().select(-1, 0)  # stands where the delta rule has beta
    output, last_weight, _ = forward(query, key, value, unread, weight, True, needs_tape(query, key, value, weight))
    return output, last_weight


def allocate(query: Tensor, cut: Plan, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The forward operator's results, not yet written."""
    batch, _, heads, width = query.shape
    return (
        query.new_empty(query.shape),
        query.new_empty(batch, heads, width, width),
        query.new_empty(tape_size(query, cut) if keep else (heads, 0), dtype=torch.uint8),
    )


def tape_size(query: Tensor, cut: Plan) -> tuple[int, int]:
    """Heads, and bytes for one head: each step's `[q | k | e | b]` and W before every segment."""
    _, _, heads, width = query.shape
    vectors = cut.vectors(width)
    return heads, cut.tape_bytes(query, matrix=width * vectors, slot=3 * vectors + 1)


@torch.library.custom_op("fwplab::delta", mutates_args=(), device_types="cpu")
def forward(
    query: Tensor, key: Tensor, value: Tensor, beta: Tensor, initial_weight: Tensor, additive: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, last W, and if `keep` the tape that the backward pass reads (else it is empty)."""
    batch, length, heads, width = query.shape
    rule = "linear" if additive else "delta"
    check(
        rule,
        query,
        key=(key, (batch, length, heads, width)),
        value=(value, (batch, length, heads, width)),
        beta=(beta, (batch, length, heads)),
        initial_state=(initial_weight, (batch, heads, width, width)),
    )
    cut = plan(query, WIDEST_LANES)
    output, last_weight, tape = allocate(query, cut, keep)
    inputs = [*map(with_rows, (query, key, value)), beta]
    initial = with_rows(initial_weight)
    places = [*map(sequence, inputs), state(initial), sequence(output), state(last_weight)]
    call(f"{rule}_forward", cut.problem(query), places, *cut.tape(tape))
    return output, last_weight, tape


@forward.register_fake
def _(query: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return allocate(query, plan(query, WIDEST_LANES), arguments[-1])


def allocate_gradients(like: Tensor, additive: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The backward operator's results, not yet written; `like` is `[batch, time, heads, d]`."""
    batch, length, heads, width = like.shape
    return (
        like.new_empty(like.shape),
        like.new_empty(like.shape),
        like.new_empty(like.shape),
        like.new_zeros(batch, length, heads) if additive else like.new_empty(batch, length, heads),
        like.new_empty(batch, heads, width, width),
    )


@torch.library.custom_op("fwplab::delta_backward", mutates_args=(), device_types="cpu")
def backward(
    grad_output: Tensor, grad_last_weight: Tensor, tape: Tensor, additive: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value, beta (zeros for the additive rule) and `W_0`."""
    cut = plan(grad_output, WIDEST_LANES)
    check_tape(tape, tape_size(grad_output, cut))
    grad_output, grad_last_weight, tape = with_rows(grad_output), with_rows(grad_last_weight), tape.contiguous()
    gradients = allocate_gradients(grad_output, additive)
    places = [sequence(grad_output), state(grad_last_weight), *map(sequence, gradients[:4]), state(gradients[4])]
    rule = "linear" if additive else "delta"
    call(f"{rule}_backward", cut.problem(grad_output), places, *cut.tape(tape))
    return gradients


@backward.register_fake
def _(grad_output: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return allocate_gradients(grad_output, arguments[-1])


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[2], inputs[4])
    ctx.shape, ctx.additive = inputs[0].shape, inputs[5]


def differentiate(
    ctx: Any, grad_output: Tensor | None, grad_last_weight: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    tape, weight = ctx.saved_tensors
    grad_output = weight.new_zeros(ctx.shape) if grad_output is None else grad_output
    grad_last_weight = torch.zeros_like(weight) if grad_last_weight is None else grad_last_weight
    *sequences, beta, initial_weight = backward(grad_output, grad_last_weight, tape, ctx.additive)
    return (*sequences, None if ctx.additive else beta, initial_weight, None, None)


forward.register_autograd(differentiate, setup_context=setup_context)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:5], dims[:5], HEAD_AXES, strict=True)]
    results = forward(*tensors, arguments[5], arguments[6] or needs_tape(*tensors))
    return unfold(results, (2, 1, 0), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:3], dims[:3], (2, 1, 0), strict=True)]
    return unfold(backward(*tensors, arguments[3]), (2, 2, 2, 2, 1), info.batch_size)
