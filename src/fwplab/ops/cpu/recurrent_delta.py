"""Recurrent Delta as a PyTorch operator, with an analytic backward pass."""

from typing import Any

import torch
from torch import Tensor

from fwplab.ops.cpu.kernels import (
    SCALES,
    Plan,
    address,
    call,
    check,
    plan,
    registers,
    require_tape,
    sequence,
    state,
    unknown_tape,
    weight,
)
from fwplab.ops.folding import Mapped, fold, one_by_one, unfold
from fwplab.ops.operator import Found, as_operator, needs_tape, resolved, with_rows
from fwplab.ops.rule import RULES
from fwplab.ops.variation import PAPER, Variation

INTERLEAVED = 4
RULE = RULES["recurrent_delta"]


def recurrent_delta(
    *arguments: Tensor, cu_seqlens: Tensor | None = None, variation: Variation = PAPER
) -> tuple[Tensor, Tensor, Tensor]:
    """`(query, key, value, beta, R_q, R_k, R_v, r_b, W_0, o_0) -> (output, W_T, o_T)`; `fwplab.ops.recurrent_delta`
    has the equations.

    - query, key, value: `[batch, time, heads, d]`, float32 or float64 like all tensors.
    - beta: `[batch, time, heads]`.
    - R_q, R_k, R_v: `[heads, d, d]`.
    - r_b: `[heads, d]`.
    - W_0, o_0: `[sequences, heads, d, d]` and `[sequences, heads, d]`.

    Raises `UserError` for other shapes and data types.
    """
    output, last_weight = forward(*arguments, cu_seqlens, needs_tape(*arguments), variation.code)[:2]
    return output, last_weight, last_outputs(output, arguments[-1], cu_seqlens)


def last_outputs(output: Tensor, initial: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """The last output of each sequence; the initial output if the sequence is empty."""
    if cu_seqlens is None:
        return output[:, -1].clone() if output.shape[1] else initial.clone()
    if not output.shape[1]:
        return initial.clone()
    ends = cu_seqlens[1:].to(output.device, torch.int64)
    empty = (cu_seqlens.diff() == 0).to(output.device)[:, None, None]
    return torch.where(empty, initial, output[0, (ends - 1).clamp(min=0)])


def make_plan(like: Tensor, cu_seqlens: Tensor | None, variation: int) -> Plan:
    """The plan: lanes order as long as W and its gradient fit into the first-level cache."""
    return plan(like, 16 if registers() < 64 else 8, cu_seqlens, interleaved=INTERLEAVED, varied=bool(variation))


def allocate_tape(query: Tensor, own: Plan, variation: int) -> Tensor:
    """Allocates the tape: `[q | k | e | h | b]` of each step (a variation adds scales), and W at segment boundaries."""
    vectors = own.vectors(query.shape[-1])
    slot = 4 * vectors + 1 + (SCALES if variation else 0)
    return own.tape(query, matrix=query.shape[-1] * vectors, slot=slot)


@as_operator("fwplab::recurrent_delta")
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
    cu_seqlens: Tensor | None,
    keep: bool,
    variation: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the output, the last W, and the tape for the backward pass, which is empty without `keep`."""
    batch, length, heads, width = query.shape
    own = make_plan(query, cu_seqlens, variation)
    sequences = own.sequences(batch)
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
        initial_weight=(initial_weight, (sequences, heads, width, width)),
        initial_output=(initial_output, (sequences, heads, width)),
    )
    output, last_weight = query.new_empty(query.shape), initial_weight.new_empty(initial_weight.shape)
    tape = allocate_tape(query, own, variation) if keep else query.new_empty(heads, 0, dtype=torch.uint8)
    inputs = [*map(with_rows, (query, key, value)), resolved(beta)]
    slow = [with_rows(t) for t in (recurrent_query, recurrent_key, recurrent_value, recurrent_beta)]
    states = [with_rows(initial_weight), with_rows(initial_output)]
    places = [*map(sequence, inputs), *map(weight, slow), *map(state, states), sequence(output), state(last_weight)]
    call("recurrent_delta_forward", own.problem(query, variation), places, *address(tape))
    return output, last_weight, tape


@forward.register_fake
def _(query: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *_, initial_weight, _, cu_seqlens, keep, variation = arguments
    tape = unknown_tape(
        query, keep, lambda: allocate_tape(query, make_plan(query, None, variation), variation), cu_seqlens
    )
    return query.new_empty(query.shape), initial_weight.new_empty(initial_weight.shape), tape


def gradients_like(sequence: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Allocates the results of the backward operator. weight: a tensor with the shape of `W_0`."""
    width = sequence.shape[-1]
    return (
        sequence.new_empty(sequence.shape),
        sequence.new_empty(sequence.shape),
        sequence.new_empty(sequence.shape),
        sequence.new_empty(sequence.shape[:3]),
        sequence.new_empty(sequence.shape[2], 3 * width + 1, width),
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape[:3]),
    )


@as_operator("fwplab::recurrent_delta_backward")
def backward(
    grad_output: Tensor,
    grad_last_weight: Tensor,
    tape: Tensor,
    recurrent_query: Tensor,
    recurrent_key: Tensor,
    recurrent_value: Tensor,
    recurrent_beta: Tensor,
    cu_seqlens: Tensor | None,
    variation: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value, beta, of `[R_q; R_k; R_v; r_b]` in one tensor, of `W_0` and `o_0`."""
    own = make_plan(grad_output, cu_seqlens, variation)
    grad_output, grad_last_weight, tape = (
        with_rows(grad_output),
        with_rows(grad_last_weight),
        require_tape(tape, grad_output),
    )
    slow = [with_rows(t) for t in (recurrent_query, recurrent_key, recurrent_value, recurrent_beta)]
    results = gradients_like(grad_output, grad_last_weight)
    *sequences, slow_gradient, initial_weight, initial_output = results
    places = [sequence(grad_output), state(grad_last_weight), *map(weight, slow), *map(sequence, sequences)]
    places += [state(initial_weight), state(initial_output)]
    problem = own.problem(grad_output, variation)
    call("recurrent_delta_backward", problem, places, *address(tape), slow_gradient.data_ptr())
    return results


@backward.register_fake
def _(grad_output: Tensor, grad_last_weight: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return gradients_like(grad_output, grad_last_weight)


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the compiled backward pass."""
    query, *_, initial_weight, _, cu_seqlens, _, variation = arguments
    (tape,), (grad_output, grad_last_weight, *_) = saved, cotangents
    if grad_output is None:
        grad_output = query.new_zeros(query.shape)
    if grad_last_weight is None:
        grad_last_weight = initial_weight.new_zeros(initial_weight.shape)
    found = backward(grad_output, grad_last_weight, tape, *arguments[4:8], cu_seqlens, variation)
    *sequences, slow_gradient, grad_weight, grad_last = found
    width = query.shape[-1]
    *matrices, row = (part.clone() for part in slow_gradient.split([width, width, width, 1], dim=1))
    return *sequences, *matrices, row.squeeze(1), grad_weight, grad_last


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same output and last W, computed by the definition of the rule."""
    *tensors, cu_seqlens, _, code = arguments
    variation = Variation.from_code(code)
    return RULE.results(*tensors, cu_seqlens=cu_seqlens, variation=variation)[:2]


forward.register_autograd(gradients, tensors=11, saves=(2,), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:10], dims[:10], RULE.axes, strict=True)]
    results = forward(*tensors, arguments[10], arguments[11] or needs_tape(*tensors), arguments[12])
    return unfold(results, (RULE.axes[0], RULE.axes[-1], 0), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    if dims[2] is None:
        return one_by_one(backward, dims, arguments, info.batch_size)
    axes = (RULE.axes[0], RULE.axes[-1], 0, *RULE.axes[4:8])
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:7], dims[:7], axes, strict=True)]
    return unfold(backward(*tensors, *arguments[7:]), (2, 2, 2, 2, 0, 1, 1), info.batch_size)
