"""The self-referential weight matrix `W = [W_y | W_q | W_k | w_b]`.

One program for each sequence and head runs the whole loop, with all four blocks in registers: `[y | q | k | b] = x W`,
`m = q - k`, `r = m W` and `u = b r` (one rate for each block), then `W += k^T u`. The tape has
`[q | k | r_y | r_q | r_k]` and `[b | r_b]` of every step, and W after every `SEGMENT` steps. The backward pass computes
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
)

RULE = RULES["srwm"]
SEGMENT = 16
"""Steps between two saved W. Entries may grow by a quarter in each step, so that a longer segment loses small ones."""


@triton.jit
def entry(rates, index: tl.constexpr):
    """One of the four rates, by its index."""
    return tl.sum(tl.where(tl.arange(0, 4) == index, rates, 0.0), 0)


@triton.jit
def add_outer(W, left, right):
    """`W + left^T right`."""
    return W + left[:, None] * right[None, :]


@triton.jit(do_not_specialize=["time", "heads"])
def forward_kernel(
    x, w_y, w_q, w_k, w_b, cu_seqlens, output, last_y, last_q, last_k, last_b, tape, rates,
    saved_y, saved_q, saved_k, saved_b,
    x_batch, x_time, x_head,
    time, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr, SEGMENT: tl.constexpr, KEEP: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """The forward pass of one sequence and head."""
    program = tl.program_id(0).to(tl.int64)
    sequence, head = program // heads, program % heads
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    x += batch * x_batch + start * x_time + head * x_head
    first = batch * time + start
    row, saved_row = first * heads + head, (first // SEGMENT + sequence) * heads + head
    output += row * WIDTH
    tape += row * 5 * WIDTH
    rates += row * 8
    square, place = WIDTH * WIDTH, program * WIDTH * WIDTH

    dtype = w_y.dtype.element_ty
    W_y = load_matrix(w_y + place, WIDTH, WIDTH, BLOCK, BLOCK)
    W_q = load_matrix(w_q + place, WIDTH, WIDTH, BLOCK, BLOCK)
    W_k = load_matrix(w_k + place, WIDTH, WIDTH, BLOCK, BLOCK)
    W_b = load_matrix(w_b + program * WIDTH * 4, WIDTH, 4, BLOCK, 4)
    x_next = load_row(x, 0, x_time, WIDTH, length > 0, BLOCK)
    for t in range(length):
        # the next input is loaded while this step computes
        x_t, x_next = x_next.to(dtype), load_row(x, t + 1, x_time, WIDTH, t + 1 < length, BLOCK)
        y = left_multiply(x_t, W_y)
        q = softmax(left_multiply(x_t, W_q), WIDTH, BLOCK)
        k = softmax(left_multiply(x_t, W_k), WIDTH, BLOCK)
        b = sigmoid(left_multiply(x_t, W_b))
        m = q - k
        r_y, r_q, r_k, r_b = left_multiply(m, W_y), left_multiply(m, W_q), left_multiply(m, W_k), left_multiply(m, W_b)
        W_y = add_outer(W_y, k, entry(b, 0) * r_y)
        W_q = add_outer(W_q, k, entry(b, 1) * r_q)
        W_k = add_outer(W_k, k, entry(b, 2) * r_k)
        W_b = add_outer(W_b, k, entry(b, 3) * r_b)
        store_row(output, t, heads * WIDTH, WIDTH, y, BLOCK)
        if KEEP:
            at, step = tape + t * heads * 5 * WIDTH, WIDTH
            store_row(at, 0, step, WIDTH, q, BLOCK)
            store_row(at, 1, step, WIDTH, k, BLOCK)
            store_row(at, 2, step, WIDTH, r_y, BLOCK)
            store_row(at, 3, step, WIDTH, r_q, BLOCK)
            store_row(at, 4, step, WIDTH, r_k, BLOCK)
            store_row(rates, t, heads * 8, 4, b, 4)
            store_row(rates + 4, t, heads * 8, 4, r_b, 4)
            if (t + 1) % SEGMENT == 0:
                save = saved_row + (t // SEGMENT) * heads
                store_matrix(saved_y + save * square, WIDTH, WIDTH, W_y, BLOCK, BLOCK)
                store_matrix(saved_q + save * square, WIDTH, WIDTH, W_q, BLOCK, BLOCK)
                store_matrix(saved_k + save * square, WIDTH, WIDTH, W_k, BLOCK, BLOCK)
                store_matrix(saved_b + save * WIDTH * 4, WIDTH, 4, W_b, BLOCK, 4)
    store_matrix(last_y + place, WIDTH, WIDTH, W_y, BLOCK, BLOCK)
    store_matrix(last_q + place, WIDTH, WIDTH, W_q, BLOCK, BLOCK)
    store_matrix(last_k + place, WIDTH, WIDTH, W_k, BLOCK, BLOCK)
    store_matrix(last_b + program * WIDTH * 4, WIDTH, 4, W_b, BLOCK, 4)


@triton.jit
def back_to(W, G, k, b, r):
    """One block's W before the step, and the gradients of b and of r; W and G are those after it."""
    grad_u = left_multiply(k, G)
    return add_outer(W, -k, b * r), tl.sum(grad_u * r, 0), b * grad_u


@triton.jit(do_not_specialize=["time", "heads"])
def backward_kernel(
    grad_output, grad_y, grad_q, grad_k, grad_b, x, last_y, last_q, last_k, last_b, tape, rates,
    saved_y, saved_q, saved_k, saved_b, cu_seqlens, grad_x, first_y, first_q, first_k, first_b,
    g_batch, g_time, g_head, x_batch, x_time, x_head,
    time, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr, SEGMENT: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """The backward pass of one sequence and head, from the last step to the first. G is the gradient of W."""
    program = tl.program_id(0).to(tl.int64)
    sequence, head = program // heads, program % heads
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    grad_output += batch * g_batch + start * g_time + head * g_head
    x += batch * x_batch + start * x_time + head * x_head
    first = batch * time + start
    row, saved_row = first * heads + head, (first // SEGMENT + sequence) * heads + head
    grad_x += row * WIDTH
    tape += row * 5 * WIDTH
    rates += row * 8
    square, place = WIDTH * WIDTH, program * WIDTH * WIDTH
    index = tl.arange(0, 4)

    dtype = last_y.dtype.element_ty
    W_y = load_matrix(last_y + place, WIDTH, WIDTH, BLOCK, BLOCK)
    W_q = load_matrix(last_q + place, WIDTH, WIDTH, BLOCK, BLOCK)
    W_k = load_matrix(last_k + place, WIDTH, WIDTH, BLOCK, BLOCK)
    W_b = load_matrix(last_b + program * WIDTH * 4, WIDTH, 4, BLOCK, 4)
    G_y = load_matrix(grad_y + place, WIDTH, WIDTH, BLOCK, BLOCK)
    G_q = load_matrix(grad_q + place, WIDTH, WIDTH, BLOCK, BLOCK)
    G_k = load_matrix(grad_k + place, WIDTH, WIDTH, BLOCK, BLOCK)
    G_b = load_matrix(grad_b + program * WIDTH * 4, WIDTH, 4, BLOCK, 4)
    for s in range(length):
        t = length - 1 - s
        if (t + 1) % SEGMENT == 0:
            save = saved_row + (t // SEGMENT) * heads
            W_y = load_matrix(saved_y + save * square, WIDTH, WIDTH, BLOCK, BLOCK)
            W_q = load_matrix(saved_q + save * square, WIDTH, WIDTH, BLOCK, BLOCK)
            W_k = load_matrix(saved_k + save * square, WIDTH, WIDTH, BLOCK, BLOCK)
            W_b = load_matrix(saved_b + save * WIDTH * 4, WIDTH, 4, BLOCK, 4)
        at, step = tape + t * heads * 5 * WIDTH, WIDTH
        x_t = load_row(x, t, x_time, WIDTH, True, BLOCK).to(dtype)
        z_y = load_row(grad_output, t, g_time, WIDTH, True, BLOCK).to(dtype)
        q, k = load_row(at, 0, step, WIDTH, True, BLOCK), load_row(at, 1, step, WIDTH, True, BLOCK)
        r_y, r_q = load_row(at, 2, step, WIDTH, True, BLOCK), load_row(at, 3, step, WIDTH, True, BLOCK)
        r_k, r_b = load_row(at, 4, step, WIDTH, True, BLOCK), load_row(rates + 4, t, heads * 8, 4, True, 4)
        b = load_row(rates, t, heads * 8, 4, True, 4)
        # W += k^T (b r): before it is undone, the gradient of k
        b_y, b_q, b_k, b_b = entry(b, 0), entry(b, 1), entry(b, 2), entry(b, 3)
        grad_k_t = right_multiply(G_y, b_y * r_y) + right_multiply(G_q, b_q * r_q)
        grad_k_t += right_multiply(G_k, b_k * r_k) + right_multiply(G_b, b_b * r_b)
        W_y, rate_y, s_y = back_to(W_y, G_y, k, b_y, r_y)
        W_q, rate_q, s_q = back_to(W_q, G_q, k, b_q, r_q)
        W_k, rate_k, s_k = back_to(W_k, G_k, k, b_k, r_k)
        W_b, rate_b, s_b = back_to(W_b, G_b, k, b_b, r_b)
        # r = m W
        m = q - k
        grad_m = right_multiply(W_y, s_y) + right_multiply(W_q, s_q)
        grad_m += right_multiply(W_k, s_k) + right_multiply(W_b, s_b)
        # [y | q | k | b] = x W before softmax and sigmoid
        z_q = softmax_backward(q, grad_m)
        z_k = softmax_backward(k, grad_k_t - grad_m)
        z_b = tl.where(index == 0, rate_y, tl.where(index == 1, rate_q, tl.where(index == 2, rate_k, rate_b)))
        z_b *= b * (1.0 - b)
        grad_x_t = right_multiply(W_y, z_y) + right_multiply(W_q, z_q)
        grad_x_t += right_multiply(W_k, z_k) + right_multiply(W_b, z_b)
        store_row(grad_x, t, heads * WIDTH, WIDTH, grad_x_t, BLOCK)
        G_y = add_outer(add_outer(G_y, m, s_y), x_t, z_y)
        G_q = add_outer(add_outer(G_q, m, s_q), x_t, z_q)
        G_k = add_outer(add_outer(G_k, m, s_k), x_t, z_k)
        G_b = add_outer(add_outer(G_b, m, s_b), x_t, z_b)
    store_matrix(first_y + place, WIDTH, WIDTH, G_y, BLOCK, BLOCK)
    store_matrix(first_q + place, WIDTH, WIDTH, G_q, BLOCK, BLOCK)
    store_matrix(first_k + place, WIDTH, WIDTH, G_k, BLOCK, BLOCK)
    store_matrix(first_b + program * WIDTH * 4, WIDTH, 4, G_b, BLOCK, 4)


def srwm(
    x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`(x, w_y, w_q, w_k, w_b, cu_seqlens) -> (output, and the four blocks after the last step)`."""
    blocks = computed(x, w_y, w_q, w_k, w_b)
    output, last_y, last_q, last_k, last_b, *_ = forward(x, *blocks, cu_seqlens, needs_tape(x, *blocks))
    return output, last_y, last_q, last_k, last_b


def options(width: int) -> dict[str, Any]:
    """The tile, and the number of warps for registers of four blocks, or eight in the backward pass."""
    tile = block(width)
    return {
        "WIDTH": width,
        "BLOCK": tile,
        "SEGMENT": SEGMENT,
        "num_warps": {16: 1, 32: 4, 64: 8, 128: 16}[tile],
    }


def blocks_like(like: Tensor, rows: int, heads: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Allocates three blocks `[rows, heads, d, d]` and one `[rows, heads, d, 4]`."""
    return [like.new_empty(rows, heads, width, columns, dtype=dtype) for columns in (width, width, width, 4)]


def allocate(x: Tensor, cu_seqlens: Tensor | None, keep: bool) -> tuple[Tensor, ...]:
    """Allocates the results of the forward operator."""
    batch, time, heads, width = x.shape
    dtype, steps = compute_type(x), (batch, time) if keep else (0, 0)
    return (
        x.new_empty(x.shape),
        *blocks_like(x, sequences(x, cu_seqlens), heads, width, dtype),
        x.new_empty(*steps, heads, 5, width, dtype=dtype),
        x.new_empty(*steps, heads, 8, dtype=dtype),
        *blocks_like(x, saved_rows(x, cu_seqlens, SEGMENT) if keep else 0, heads, width, dtype),
    )


@as_operator("fwplab::triton_srwm", None)
def forward(
    x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor, cu_seqlens: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the output, the four last blocks, and with `keep` the tape: `[q | k | r]`, `[b | r_b]`, saved blocks."""
    _, time, heads, width = x.shape
    count = sequences(x, cu_seqlens)
    check_width("srwm", width)
    square = count, heads, width, width
    shapes = {"w_y": (w_y, square), "w_q": (w_q, square), "w_k": (w_k, square), "w_b": (w_b, (*square[:3], 4))}
    check("srwm", x, **shapes)
    results = allocate(x, cu_seqlens, keep)
    x = with_rows(x)
    launch(
        forward_kernel,
        count * heads,
        x,
        *(x, *(block.contiguous() for block in (w_y, w_q, w_k, w_b)), bounds(cu_seqlens, x.device), *results),
        *(*strides(x), time, heads),
        **options(width),
        KEEP=keep,
        PACKED=cu_seqlens is not None,
    )
    output, last_y, last_q, last_k, last_b, tape, rates, saved_y, saved_q, saved_k, saved_b = results
    return output, last_y, last_q, last_k, last_b, tape, rates, saved_y, saved_q, saved_k, saved_b


@forward.register_fake
def _(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return allocate(x, *arguments[-2:])


@as_operator("fwplab::triton_srwm_backward", None)
def backward(
    grad_output: Tensor,
    grad_y: Tensor,
    grad_q: Tensor,
    grad_k: Tensor,
    grad_b: Tensor,
    x: Tensor,
    last_y: Tensor,
    last_q: Tensor,
    last_k: Tensor,
    last_b: Tensor,
    tape: Tensor,
    rates: Tensor,
    saved_y: Tensor,
    saved_q: Tensor,
    saved_k: Tensor,
    saved_b: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x and of the four blocks before the first step."""
    _, time, heads, width = x.shape
    check_tape(rates.shape[:3] == x.shape[:3])
    results = allocate_gradients(x, last_y)
    grad_output = with_rows(grad_output)
    given = grad_y, grad_q, grad_k, grad_b, x, last_y, last_q, last_k, last_b
    dense = [tensor.contiguous() for tensor in given]
    tapes = (tensor.contiguous() for tensor in (tape, rates, saved_y, saved_q, saved_k, saved_b))
    launch(
        backward_kernel,
        last_y.shape[0] * heads,
        x,
        *(grad_output, *dense, *tapes, bounds(cu_seqlens, x.device), *results),
        *(*strides(grad_output), *strides(dense[4]), time, heads),
        **options(width),
        PACKED=cu_seqlens is not None,
    )
    return results


def allocate_gradients(x: Tensor, last_y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Allocates the results of the backward operator."""
    count, heads, width, _ = last_y.shape
    grad_y, grad_q, grad_k, grad_b = blocks_like(x, count, heads, width, last_y.dtype)
    return x.new_empty(x.shape), grad_y, grad_q, grad_k, grad_b


@backward.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    return allocate_gradients(arguments[5], arguments[6])


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor, ...], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the backward kernel."""
    x, *_, cu_seqlens, _ = arguments
    like = x, *saved[:4]
    given = (torch.zeros_like(t) if c is None else c for c, t in zip(cotangents[:5], like, strict=True))
    found: Found = backward(*given, x, *saved, cu_seqlens)
    return found


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same output and blocks computed by the definition of the rule."""
    *tensors, cu_seqlens, _ = arguments
    return RULE.results(*tensors, cu_seqlens=cu_seqlens)


forward.register_autograd(gradients, tensors=6, saves=tuple(range(1, 11)), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:5], dims[:5], RULE.axes, strict=True)]
    results = forward(*tensors, arguments[5], arguments[6] or needs_tape(*tensors))
    return unfold(results, (*RULE.axes, 2, 2, 1, 1, 1, 1), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    axes = (*RULE.axes, *RULE.axes, 2, 2, 1, 1, 1, 1)
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:16], dims[:16], axes, strict=True)]
    return unfold(backward(*tensors, arguments[16]), RULE.axes, info.batch_size)
