"""Recurrent delta as a PyTorch operator: compiled forward and analytic backward."""

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
    weight,
    with_rows,
)

WIDEST_LANES = 16
HEAD_AXES = (2, 2, 2, 2, 0, 0, 0, 0, 1, 1)
"""Where each tensor of the forward operator has its heads."""


def recurrent_delta(*arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`(query, key, value, beta, R_q, R_k, R_v, r_b, W_0, o_0) -> (output, W_T, o_T)`; `fwplab.ops.recurrent_delta`
    has the equations.

    Shapes: `[batch, time, heads, d]` three times, `[batch, time, heads]`, `[heads, d, d]` three times, `[heads, d]`,
    `[batch, heads, d, d]`, `[batch, heads, d]`; float32 or float64. Raises `UserError` for anything else.
    """
    output, last_weight, _ = forward(*arguments, needs_tape(*arguments))
    last = output[:, -1] if output.shape[1] else arguments[-1].clone()
    return output, last_weight, last


def allocate(query: Tensor, cut: Plan, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The forward operator's results, not yet written."""
    batch, _, heads, width = query.shape
    return (
        query.new_empty(query.shape),
        query.new_empty(batch, heads, width, width),
        query.new_empty(tape_size(query, cut) if keep else (heads, 0), dtype=torch.uint8),
    )


def tape_size(query: Tensor, cut: Plan) -> tuple[int, int]:
    """Heads, and bytes for one head: each step's `[q | k | e | h | b]` and W before every segment."""
    _, length, heads, width = query.shape
    vectors = cut.vectors(width)
    return heads, cut.tape_bytes(query, matrix=width * vectors, slot=4 * vectors + 1)


@torch.library.custom_op("fwplab::recurrent_delta", mutates_args=(), device_types="cpu")
def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    recurrent_query: Tensor,
    recurrent_key: Tensor,
    recurrent_value: Tensor,
    recurrent_beta: Tensor,
    initial_weight: Tensor,
    initial_output: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, last W, and if `keep` the tape that the backward pass reads (else it is empty)."""
    batch, length, heads, width = query.shape
    check(
        "recurrent_delta",
        query,
        key=(key, (batch, length, heads, width)),
        value=(value, (batch, length, heads, width)),
        beta=(beta, (batch, length, heads)),
        recurrent_query=(recurrent_query, (heads, width, width)),
        recurrent_key=(recurrent_key, (heads, width, width)),
        recurrent_value=(recurrent_value, (heads, width, width)),
        recurrent_beta=(recurrent_beta, (heads, width)),
        initial_weight=(initial_weight, (batch, heads, width, width)),
        initial_output=(initial_output, (batch, heads, width)),
    )
    cut = plan(query, WIDEST_LANES)
    output, last_weight, tape = allocate(query, cut, keep)
    inputs = [*map(with_rows, (query, key, value)), beta]
    slow = [with_rows(t) for t in (recurrent_query, recurrent_key, recurrent_value, recurrent_beta)]
    states = [with_rows(initial_weight), with_rows(initial_output)]
    places = [*map(sequence, inputs), *map(weight, slow), *map(state, states), sequence(output), state(last_weight)]
    call("recurrent_delta_forward", cut.problem(query), places, *cut.tape(tape))
    return output, last_weight, tape


@forward.register_fake
def _(query: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return allocate(query, plan(query, WIDEST_LANES), arguments[-1])


def allocate_gradients(like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The backward operator's results, not yet written; `like` is `[batch, time, heads, d]`."""
    batch, length, heads, width = like.shape
    return (
        like.new_empty(like.shape),
        like.new_empty(like.shape),
        like.new_empty(like.shape),
        like.new_empty(batch, length, heads),
        like.new_empty(heads, 3 * width + 1, width),
        like.new_empty(batch, heads, width, width),
        like.new_empty(batch, heads, width),
    )


@torch.library.custom_op("fwplab::recurrent_delta_backward", mutates_args=(), device_types="cpu")
def backward(
    grad_output: Tensor,
    grad_last_weight: Tensor,
    tape: Tensor,
    recurrent_query: Tensor,
    recurrent_key: Tensor,
    recurrent_value: Tensor,
    recurrent_beta: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value, beta, `[R_q; R_k; R_v; r_b]` in one tensor by rows, `W_0` and `o_0`."""
    cut = plan(grad_output, WIDEST_LANES)
    check_tape(tape, tape_size(grad_output, cut))
    grad_output, grad_last_weight, tape = with_rows(grad_output), with_rows(grad_last_weight), tape.contiguous()
    slow = [with_rows(t) for t in (recurrent_query, recurrent_key, recurrent_value, recurrent_beta)]
    gradients = allocate_gradients(grad_output)
    *sequences, slow_gradient, initial_weight, initial_output = gradients
    places = [sequence(grad_output), state(grad_last_weight), *map(weight, slow), *map(sequence, sequences)]
    places += [state(initial_weight), state(initial_output)]
    problem = cut.problem(grad_output)
    call("recurrent_delta_backward", problem, places, *cut.tape(tape), slow_gradient.data_ptr())
    return gradients


@backward.register_fake
def _(grad_output: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return allocate_gradients(grad_output)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[2], *inputs[4:8])
    ctx.shape = inputs[0].shape


def differentiate(
    ctx: Any, grad_output: Tensor | None, grad_last_weight: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    tape, *slow = ctx.saved_tensors
    batch, length, heads, width = ctx.shape
    if grad_output is None:
        grad_output = slow[0].new_zeros(batch, length, heads, width)
    if grad_last_weight is None:
        grad_last_weight = slow[0].new_zeros(batch, heads, width, width)
    *sequences, slow_gradient, initial_weight, initial_output = backward(grad_output, grad_last_weight, tape, *slow)
    *matrices, row = slow_gradient.split([width, width, width, 1], dim=1)
    return (*sequences, *matrices, row.squeeze(1), initial_weight, initial_output, None)


forward.register_autograd(differentiate, setup_context=setup_context)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:-1], dims[:-1], HEAD_AXES, strict=True)]
    results = forward(*tensors, arguments[-1] or needs_tape(*tensors))
    return unfold(results, (2, 1, 0), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    axes = (2, 1, 0, 0, 0, 0, 0)
    tensors = [fold(*each, info.batch_size) for each in zip(arguments, dims, axes, strict=True)]
    return unfold(backward(*tensors), (2, 2, 2, 2, 0, 1, 1), info.batch_size)
