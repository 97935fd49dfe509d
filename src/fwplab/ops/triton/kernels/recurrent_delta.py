"""Recurrent Delta: one program for each sequence and head runs the whole loop, with W in registers.

With `h = tanh(o_{t-1})`, `e = v - k W` and `u = b e` a step is `o = q W + (q . k) u`, `W += k^T u`, so that W is read
once and written once. The slow matrices are transposed, so that queries and keys have the axis that the product with W
needs. The tape has `[q | k | e]` and `b` of every step, and W after every `SEGMENT` steps. The backward pass computes
earlier W by undoing the updates. It uses each saved W, so that rounding errors add up over one segment only.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc,import-untyped"
# ruff: noqa: N803, PLR0915

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fwplab.ops.folding import Mapped, fold, unfold
from fwplab.ops.operator import Found, as_operator, needs_tape, with_rows
from fwplab.ops.rule import RULES
from fwplab.ops.triton.kernels.launch import (
    block,
    bounds,
    check,
    check_tape,
    check_width,
    compute_type,
    computed,
    launch,
    saved_rows,
    sequences,
    strides,
)
from fwplab.ops.triton.kernels.numerics import (
    left_multiply,
    load_matrix,
    load_row,
    right_multiply,
    sequence_bounds,
    sigmoid,
    softmax,
    softmax_backward,
    store_matrix,
    store_row,
    tanh,
)

RULE = RULES["recurrent_delta"]
SEGMENT = 16
"""Steps between two saved W. At width 64, the saved W need as much memory as the rest of the tape."""


@triton.jit
def load_inputs(q, k, v, b, t, length, q_time, k_time, v_time, b_time, width, BLOCK: tl.constexpr):
    """Loads the inputs of a step; zeros after the end."""
    present = t < length
    return (
        load_row(q, t, q_time, width, present, BLOCK),
        load_row(k, t, k_time, width, present, BLOCK),
        load_row(v, t, v_time, width, present, BLOCK),
        tl.load(b + t * b_time, mask=present, other=0.0),
    )


@triton.jit(do_not_specialize=["time", "heads"])
def forward_kernel(
    query, key, value, beta, slow, slow_beta, weight, last, cu_seqlens,
    output, last_weight, last_output, tape, rates, saved,
    q_batch, q_time, q_head, k_batch, k_time, k_head, v_batch, v_time, v_head, b_batch, b_time, b_head,
    time, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr, SEGMENT: tl.constexpr, RESIDENT: tl.constexpr,
    KEEP: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """The forward pass of one sequence and head."""
    program = tl.program_id(0).to(tl.int64)
    sequence, head = program // heads, program % heads
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    query += batch * q_batch + start * q_time + head * q_head
    key += batch * k_batch + start * k_time + head * k_head
    value += batch * v_batch + start * v_time + head * v_head
    beta += batch * b_batch + start * b_time + head * b_head
    first = batch * time + start
    row, step = first * heads + head, heads * WIDTH  # the first row and the stride of contiguous rows
    output += row * WIDTH
    tape += row * 3 * WIDTH
    rates += row
    saved += ((first // SEGMENT + sequence) * heads + head) * WIDTH * WIDTH
    slow += head * 3 * WIDTH * WIDTH

    dtype = weight.dtype.element_ty
    W = load_matrix(weight + program * WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
    o = load_row(last + program * WIDTH, 0, 0, WIDTH, True, BLOCK)
    feed_beta = load_row(slow_beta + head * WIDTH, 0, 0, WIDTH, True, BLOCK)
    if RESIDENT:
        feed_q = load_matrix(slow, WIDTH, WIDTH, BLOCK, BLOCK)
        feed_k = load_matrix(slow + WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
        feed_v = load_matrix(slow + 2 * WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
    q_x, k_x, v_x, b_x = load_inputs(
        query, key, value, beta, 0, length, q_time, k_time, v_time, b_time, WIDTH, BLOCK
    )  # fmt: skip
    for t in range(length):
        # the next inputs are loaded while this step computes
        q_next, k_next, v_next, b_next = load_inputs(
            query, key, value, beta, t + 1, length, q_time, k_time, v_time, b_time, WIDTH, BLOCK
        )
        h = tanh(o)
        if RESIDENT:
            fed_q, fed_k, fed_v = right_multiply(feed_q, h), right_multiply(feed_k, h), right_multiply(feed_v, h)
        else:  # loaded one after the other, so that only one matrix needs registers
            fed_q = right_multiply(load_matrix(slow, WIDTH, WIDTH, BLOCK, BLOCK), h)
            fed_k = right_multiply(load_matrix(slow + WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK), h)
            fed_v = right_multiply(load_matrix(slow + 2 * WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK), h)
        q = softmax(q_x.to(dtype) + fed_q, WIDTH, BLOCK)
        k = softmax(k_x.to(dtype) + fed_k, WIDTH, BLOCK)
        v = v_x.to(dtype) + fed_v
        b = sigmoid(b_x.to(dtype) + tl.sum(feed_beta * h, 0))
        e = v - left_multiply(k, W)
        u = b * e
        o = left_multiply(q, W) + tl.sum(q * k, 0) * u
        W += k[:, None] * u[None, :]
        store_row(output, t, step, WIDTH, o, BLOCK)
        if KEEP:
            store_row(tape, t, 3 * step, WIDTH, q, BLOCK)
            store_row(tape + WIDTH, t, 3 * step, WIDTH, k, BLOCK)
            store_row(tape + 2 * WIDTH, t, 3 * step, WIDTH, e, BLOCK)
            tl.store(rates + t * heads, b)
            if (t + 1) % SEGMENT == 0:
                place = saved + (t // SEGMENT) * step * WIDTH
                store_matrix(place, WIDTH, WIDTH, W, BLOCK, BLOCK)
        q_x, k_x, v_x, b_x = q_next, k_next, v_next, b_next
    store_matrix(last_weight + program * WIDTH * WIDTH, WIDTH, WIDTH, W, BLOCK, BLOCK)
    store_row(last_output + program * WIDTH, 0, 0, WIDTH, o, BLOCK)


@triton.jit
def load_step(grad_output, output, tape, rates, t, g_time, step, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Loads the inputs of a step of the backward pass; zeros before the first."""
    present = t >= 0
    return (
        load_row(grad_output, t, g_time, WIDTH, present, BLOCK),
        load_row(output, t - 1, step, WIDTH, t > 0, BLOCK),
        load_row(tape, t, 3 * step, WIDTH, present, BLOCK),
        load_row(tape + WIDTH, t, 3 * step, WIDTH, present, BLOCK),
        load_row(tape + 2 * WIDTH, t, 3 * step, WIDTH, present, BLOCK),
        tl.load(rates + t * heads, mask=present, other=0.0),
    )


@triton.jit(do_not_specialize=["time", "heads"])
def backward_kernel(
    grad_output, grad_last_weight, grad_last_output, output, tape, rates, saved, slow, slow_beta,
    last_weight, last, cu_seqlens, gradients, grad_beta, grad_weight, grad_last,
    g_batch, g_time, g_head,
    time, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr, SEGMENT: tl.constexpr, RESIDENT: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """The backward pass of one sequence and head. `gradients` receives the gradients of q, k and v, and h itself."""
    program = tl.program_id(0).to(tl.int64)
    sequence, head = program // heads, program % heads
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    grad_output += batch * g_batch + start * g_time + head * g_head
    first = batch * time + start
    row, step = first * heads + head, heads * WIDTH
    output += row * WIDTH
    tape += row * 3 * WIDTH
    gradients += row * 4 * WIDTH
    rates += row
    grad_beta += row
    saved += ((first // SEGMENT + sequence) * heads + head) * WIDTH * WIDTH
    slow += head * 3 * WIDTH * WIDTH

    W = load_matrix(last_weight + program * WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
    G = load_matrix(grad_last_weight + program * WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
    fed_back = load_row(grad_last_output + program * WIDTH, 0, 0, WIDTH, True, BLOCK)
    initial = load_row(last + program * WIDTH, 0, 0, WIDTH, True, BLOCK)
    feed_beta = load_row(slow_beta + head * WIDTH, 0, 0, WIDTH, True, BLOCK)
    if RESIDENT:
        feed_q = load_matrix(slow, WIDTH, WIDTH, BLOCK, BLOCK)
        feed_k = load_matrix(slow + WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
        feed_v = load_matrix(slow + 2 * WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
    cotangent, previous, q, k, e, b = load_step(
        grad_output, output, tape, rates, length - 1, g_time, step, heads, WIDTH, BLOCK
    )
    for s in range(length):
        t = length - 1 - s
        cotangent_next, previous_next, q_next, k_next, e_next, b_next = load_step(
            grad_output, output, tape, rates, t - 1, g_time, step, heads, WIDTH, BLOCK
        )
        if (t + 1) % SEGMENT == 0:
            W = load_matrix(saved + (t // SEGMENT) * step * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK)
        h = tanh(tl.where(t > 0, previous, initial))
        grad_o = cotangent.to(W.dtype) + fed_back
        u = b * e
        grad_q = right_multiply(W, grad_o)  # W is the one after the step
        W -= k[:, None] * u[None, :]
        G += q[:, None] * grad_o[None, :]
        grad_u = left_multiply(k, G)
        grad_e = b * grad_u
        grad_k = right_multiply(G, u) - right_multiply(W, grad_e)
        G -= k[:, None] * grad_e[None, :]
        grad_b = tl.sum(grad_u * e, 0) * b * (1.0 - b)
        grad_q = softmax_backward(q, grad_q)
        grad_k = softmax_backward(k, grad_k)
        if RESIDENT:
            grad_h = left_multiply(grad_q, feed_q) + left_multiply(grad_k, feed_k) + left_multiply(grad_e, feed_v)
        else:
            grad_h = left_multiply(grad_q, load_matrix(slow, WIDTH, WIDTH, BLOCK, BLOCK))
            grad_h += left_multiply(grad_k, load_matrix(slow + WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK))
            grad_h += left_multiply(grad_e, load_matrix(slow + 2 * WIDTH * WIDTH, WIDTH, WIDTH, BLOCK, BLOCK))
        fed_back = (grad_h + grad_b * feed_beta) * (1.0 - h * h)
        store_row(gradients, t, 4 * step, WIDTH, grad_q, BLOCK)
        store_row(gradients + WIDTH, t, 4 * step, WIDTH, grad_k, BLOCK)
        store_row(gradients + 2 * WIDTH, t, 4 * step, WIDTH, grad_e, BLOCK)
        store_row(gradients + 3 * WIDTH, t, 4 * step, WIDTH, h, BLOCK)
        tl.store(grad_beta + t * heads, grad_b)
        cotangent, previous, q, k, e, b = cotangent_next, previous_next, q_next, k_next, e_next, b_next
    store_matrix(grad_weight + program * WIDTH * WIDTH, WIDTH, WIDTH, G, BLOCK, BLOCK)
    store_row(grad_last + program * WIDTH, 0, 0, WIDTH, fed_back, BLOCK)


def recurrent_delta(*arguments: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """`(query, key, value, beta, R_q, R_k, R_v, r_b, W_0, o_0, cu_seqlens) -> (output, W_T, o_T)`."""
    *tensors, cu_seqlens = arguments
    query, key, value, beta, *rest = (tensor for tensor in tensors if tensor is not None)
    rest = computed(query, *rest)
    results = forward(query, key, value, beta, *rest, cu_seqlens, needs_tape(query, key, value, beta, *rest))
    return results[0].to(query.dtype), results[1], results[2]


def options(width: int) -> dict[str, Any]:
    """The tile, whether the slow weights stay in registers, and the number of warps for these registers."""
    tile = block(width)
    return {
        "WIDTH": width,
        "BLOCK": tile,
        "SEGMENT": SEGMENT,
        "RESIDENT": tile <= 64,
        "num_warps": {16: 1, 32: 2, 64: 4, 128: 16}[tile],
    }


def allocate(query: Tensor, cu_seqlens: Tensor | None, keep: bool) -> tuple[Tensor, ...]:
    """Allocates the results of the forward operator."""
    batch, time, heads, width = query.shape
    count, dtype = sequences(query, cu_seqlens), compute_type(query)
    shapes = [(batch, time, heads, width), (count, heads, width, width), (count, heads, width)]
    rows = saved_rows(query, cu_seqlens, SEGMENT)
    tapes = [(batch, time, heads, 3, width), (batch, time, heads), (rows, heads, width, width)]
    shapes += tapes if keep else [(0, 0, heads, 3, width), (0, 0, heads), (0, heads, width, width)]
    return tuple(query.new_empty(shape, dtype=dtype) for shape in shapes)


@as_operator("fwplab::triton_recurrent_delta", None)
def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    recurrent_query: Tensor,
    recurrent_key: Tensor,
    recurrent_value: Tensor,
    recurrent_beta: Tensor,
    weight: Tensor,
    last: Tensor,
    cu_seqlens: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns output, last W and last output in the computed type, and with `keep` the tape: `[q | k | e]`, b, W."""
    batch, time, heads, width = query.shape
    count = sequences(query, cu_seqlens)
    check_width("recurrent_delta", width)
    check(
        "recurrent_delta",
        query,
        key=(key, (batch, time, heads, width)),
        value=(value, (batch, time, heads, width)),
        beta=(beta, (batch, time, heads)),
        recurrent_query=(recurrent_query, (heads, width, width)),
        recurrent_key=(recurrent_key, (heads, width, width)),
        recurrent_value=(recurrent_value, (heads, width, width)),
        recurrent_beta=(recurrent_beta, (heads, width)),
        initial_weight=(weight, (count, heads, width, width)),
        initial_output=(last, (count, heads, width)),
    )
    results = allocate(query, cu_seqlens, keep)
    query, key, value = with_rows(query), with_rows(key), with_rows(value)
    launch(
        forward_kernel,
        count * heads,
        query,
        *(query, key, value, beta, *slow_weights(recurrent_query, recurrent_key, recurrent_value, recurrent_beta)),
        *(weight.contiguous(), last.contiguous(), bounds(cu_seqlens, query.device), *results),
        *(*strides(query), *strides(key), *strides(value), *strides(beta), time, heads),
        **options(width),
        KEEP=keep,
        PACKED=cu_seqlens is not None,
    )
    output, last_weight, last_output, tape, rates, saved = results
    return output, last_weight, last_output, tape, rates, saved


def slow_weights(query: Tensor, key: Tensor, value: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """`[heads, 3, d, d]`, transposed and side by side, and the row of the write strength."""
    return torch.stack([query, key, value], dim=1).mT.contiguous(), beta.contiguous()


@forward.register_fake
def _(query: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return allocate(query, *arguments[-2:])


@as_operator("fwplab::triton_recurrent_delta_backward", None)
def backward(
    grad_output: Tensor,
    grad_last_weight: Tensor,
    grad_last_output: Tensor,
    output: Tensor,
    last_weight: Tensor,
    tape: Tensor,
    rates: Tensor,
    saved: Tensor,
    recurrent_query: Tensor,
    recurrent_key: Tensor,
    recurrent_value: Tensor,
    recurrent_beta: Tensor,
    last: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key and value with h beside them, of beta, `W_0` and `o_0`."""
    _, time, heads, width = output.shape
    check_tape(rates.shape == output.shape[:3])
    results = allocate_gradients(output, last_weight)
    grad_output = with_rows(grad_output)
    cotangents = grad_output, grad_last_weight.contiguous(), grad_last_output.contiguous()
    launch(
        backward_kernel,
        last_weight.shape[0] * heads,
        output,
        *(*cotangents, *(each.contiguous() for each in (output, tape, rates, saved))),
        *slow_weights(recurrent_query, recurrent_key, recurrent_value, recurrent_beta),
        *(last_weight.contiguous(), last.contiguous(), bounds(cu_seqlens, output.device), *results),
        *(*strides(grad_output), time, heads),
        **options(width),
        PACKED=cu_seqlens is not None,
    )
    return results


def allocate_gradients(output: Tensor, last_weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Allocates the results of the backward operator."""
    batch, time, heads, width = output.shape
    return (
        output.new_empty(batch, time, heads, 4, width),
        output.new_empty(batch, time, heads),
        output.new_empty(last_weight.shape),
        output.new_empty(last_weight.shape[:3]),
    )


@backward.register_fake
def _(_0: Tensor, _1: Tensor, _2: Tensor, output: Tensor, last_weight: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return allocate_gradients(output, last_weight)


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor, ...], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the backward kernel."""
    *tensors, cu_seqlens, _ = arguments
    output, last_weight, *tape = saved
    like = output, last_weight, last_weight[..., 0, :]
    given = [torch.zeros_like(t) if c is None else c for c, t in zip(cotangents[:3], like, strict=True)]
    found = backward(*given, output, last_weight, *tape, *tensors[4:8], tensors[9], cu_seqlens)
    joined, grad_beta, grad_weight, grad_last = found
    *inputs, h = joined.unbind(-2)
    slow = [torch.einsum("bthi,bthj->hij", h, gradient) for gradient in inputs]
    slow_beta = torch.einsum("bthi,bth->hi", h, grad_beta)
    types = (tensor.dtype for tensor in tensors[:4])
    typed = [gradient.to(dtype).contiguous() for gradient, dtype in zip([*inputs, grad_beta], types, strict=True)]
    return *typed, *slow, slow_beta, grad_weight, grad_last


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same output, last W and last output computed by the definition of the rule."""
    *tensors, cu_seqlens, _ = arguments
    return RULE.results(*tensors, cu_seqlens=cu_seqlens)


forward.register_autograd(gradients, tensors=11, saves=(0, 1, 3, 4, 5), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:10], dims[:10], RULE.axes, strict=True)]
    results = forward(*tensors, arguments[10], arguments[11] or needs_tape(*tensors))
    return unfold(results, (2, 1, 1, 2, 2, 1), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    axes = (RULE.axes[0], *RULE.axes[8:], 2, 1, 2, 2, 1, *RULE.axes[4:8], RULE.axes[-1])
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:13], dims[:13], axes, strict=True)]
    return unfold(backward(*tensors, arguments[13]), (2, 2, 1, 1), info.batch_size)
