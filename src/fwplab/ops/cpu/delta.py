"""The delta rule, the gated delta rule and the additive rule as one PyTorch operator with an analytic gradient."""

from typing import Any

import torch
from torch import Tensor

from fwplab.ops.cpu.kernels import (
    Order,
    Plan,
    address,
    call,
    check,
    plan,
    require_tape,
    sequence,
    state,
    unknown_tape,
)
from fwplab.ops.folding import Mapped, fold, one_by_one, unfold
from fwplab.ops.operator import Found, as_operator, needs_tape, resolved, with_rows
from fwplab.ops.rule import RULES

WIDEST_LANES = 16
RULE = RULES["delta"]


def delta(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor | None,
    log_decay: Tensor | None,
    weight: Tensor,
    *,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`(query, key, value, beta, log_decay, W_0) -> (output, W_T)`; `fwplab.ops.delta` has the equations.

    - `query`, `key`, `value`: `[batch, time, heads, d]`, float32 or float64 like all tensors.
    - `beta`: `[batch, time, heads]`. With None the rule is additive.
    - `log_decay`: `[batch, time, heads]`; None for no decay.
    - `weight`: `W_0`, `[sequences, heads, d, d]`.

    Raises `UserError` for other shapes and data types.
    """
    tensors = query, key, value, beta, log_decay, weight
    output, last_weight = forward(*tensors, cu_seqlens, needs_tape(*tensors))[:2]
    return output, last_weight


def rule_name(beta: Tensor | None, log_decay: Tensor | None) -> str:
    """The kernel for these arguments."""
    return "linear" if beta is None else "delta" if log_decay is None else "gated_delta"


def make_plan(query: Tensor, log_decay: Tensor | None, cu_seqlens: Tensor | None) -> Plan:
    """The plan. With a decay the backward pass needs W and its gradient at the same time, so held order is not used."""
    return plan(query, WIDEST_LANES, cu_seqlens, holds=log_decay is None)


def allocate_tape(query: Tensor, beta: Tensor | None, own: Plan) -> Tensor:
    """Allocates the tape: the error of each step if the rule has one, and W at the segment boundaries."""
    if own.order == Order.HELD:
        batch, length, heads, width = query.shape
        positions = 0 if beta is None else batch * length
        numbers = (positions + -(-positions // own.segment) * width) * width
        return query.new_empty(heads, numbers * query.element_size(), dtype=torch.uint8)
    vectors = own.vectors(query.shape[-1])
    return own.tape(query, matrix=query.shape[-1] * vectors, slot=0 if beta is None else vectors)


@as_operator("fwplab::delta")
def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor | None,
    log_decay: Tensor | None,
    initial_weight: Tensor,
    cu_seqlens: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the output, the last W, and the tape for the backward pass, which is empty without `keep`."""
    batch, length, heads, width = query.shape
    rule, own = rule_name(beta, log_decay), make_plan(query, log_decay, cu_seqlens)
    rows, numbers = query.shape, (batch, length, heads)
    check(
        "linear" if beta is None else "delta",
        query,
        key=(key, rows),
        value=(value, rows),
        beta=(beta, numbers),
        log_decay=(log_decay, numbers),
        initial_state=(initial_weight, (own.sequences(batch), heads, width, width)),
    )
    output, last_weight = query.new_empty(query.shape), initial_weight.new_empty(initial_weight.shape)
    tape = allocate_tape(query, beta, own) if keep else query.new_empty(heads, 0, dtype=torch.uint8)
    inputs = [*map(with_rows, (query, key, value)), *map(resolved, (beta, log_decay))]
    initial = with_rows(initial_weight)
    places = [*map(sequence, inputs), state(initial), sequence(output), state(last_weight)]
    call(f"{rule}_forward", own.problem(query), places, *address(tape))
    return output, last_weight, tape


@forward.register_fake
def _(query: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    _, _, beta, log_decay, initial_weight, cu_seqlens, keep = arguments
    tape = unknown_tape(query, keep, lambda: allocate_tape(query, beta, make_plan(query, log_decay, None)), cu_seqlens)
    return query.new_empty(query.shape), initial_weight.new_empty(initial_weight.shape), tape


def gradients_like(
    query: Tensor, beta: Tensor | None, log_decay: Tensor | None, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Allocates the results of the backward operator; an empty tensor for an argument that is None."""
    none = (0, 0, 0)
    return (
        query.new_empty(query.shape),
        query.new_empty(query.shape),
        query.new_empty(query.shape),
        query.new_empty(none if beta is None else query.shape[:3]),
        query.new_empty(none if log_decay is None else query.shape[:3]),
        weight.new_empty(weight.shape),
    )


@as_operator("fwplab::delta_backward")
def backward(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor | None,
    log_decay: Tensor | None,
    initial_weight: Tensor,
    grad_last_weight: Tensor,
    tape: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value, beta, log decay and `W_0`."""
    rule, own = rule_name(beta, log_decay), make_plan(query, log_decay, cu_seqlens)
    gradients = gradients_like(query, beta, log_decay, grad_last_weight)
    inputs = [*map(with_rows, (grad_output, query, key, value)), *map(resolved, (beta, log_decay))]
    states = [with_rows(initial_weight), with_rows(grad_last_weight)]
    if beta is not None or own.order != Order.HELD:
        tape = require_tape(tape, grad_output)
    places = [*map(sequence, inputs), *map(state, states), *map(sequence, gradients[:5]), state(gradients[5])]
    call(f"{rule}_backward", own.problem(query), places, *address(tape))
    return gradients


@backward.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    _, query, _, _, beta, log_decay, _, grad_last_weight, _, _ = arguments
    return gradients_like(query, beta, log_decay, grad_last_weight)


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the compiled backward pass."""
    (*sequences, weight, cu_seqlens, _), (tape,), (grad_output, grad_last_weight, *_) = arguments, saved, cotangents
    query, _, _, beta, log_decay = sequences
    grad_output = query.new_zeros(query.shape) if grad_output is None else grad_output
    grad_last_weight = weight.new_zeros(weight.shape) if grad_last_weight is None else grad_last_weight
    *found, grad_beta, grad_log_decay, grad_weight = backward(
        grad_output, *sequences, weight, grad_last_weight, tape, cu_seqlens
    )
    numbers = None if beta is None else grad_beta, None if log_decay is None else grad_log_decay
    return *found, *numbers, grad_weight


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same output and last W, computed by the definition of the rule."""
    query, key, value, beta, log_decay, weight, cu_seqlens, _ = arguments
    if beta is None:
        return RULES["linear"].results(query, key, value, weight, cu_seqlens=cu_seqlens)
    return RULES["delta"].results(query, key, value, beta, log_decay, weight, cu_seqlens=cu_seqlens)


forward.register_autograd(gradients, tensors=7, saves=(2,), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:6], dims[:6], RULE.axes, strict=True)]
    results = forward(*tensors, arguments[6], arguments[7] or needs_tape(*tensors))
    return unfold(results, (RULE.axes[0], RULE.axes[-1], 0), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    if dims[8] is None:
        return one_by_one(backward, dims, arguments, info.batch_size)
    axes = (RULE.axes[0], *RULE.axes, RULE.axes[-1], 0)
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:9], dims[:9], axes, strict=True)]
    results = backward(*tensors, arguments[9])
    missing = {place for place, tensor in ((3, arguments[4]), (4, arguments[5])) if tensor is None}
    heads = tuple(None if place in missing else axis for place, axis in enumerate(RULE.axes))
    return unfold(results, heads, info.batch_size)
