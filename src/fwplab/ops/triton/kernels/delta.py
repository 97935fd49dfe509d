"""The delta rule and the gated delta rule in chunks.

There is one program for each sequence, head and slice of the values. It keeps its columns of W from chunk to chunk.

The scaled errors U of a chunk solve `(I + A) U = diag(beta) (V - c K W)` with `A = tril(D * (diag(beta) K K^T), -1)`;
then `O = c Q W + tril(D * (Q K^T)) U` and `W = c_C W + K^T (d U)`. `D_ij` is the decay of the positions after j up to
i, `c_i` that from the start of the chunk up to i; `c_C` and `d_j` are the same up to its end. All are 1 without a gate.
Each is the exponential of its own sum of nonpositive numbers, not of a difference of sums, so that a log decay of minus
infinity is exact.

`(I + A)^-1` is assembled from its diagonal blocks of 1, 2, 4, ... rows, with two matrix products for each doubling.
Every intermediate number is an entry of the inverse. (The series `I - A + A^2 - ...` needs as many products, but its
terms overflow for repeated keys and `beta > 1`. Substitution row by row needs a synchronisation for each row.)

The tape is W at the start of every chunk. The backward pass computes the other values again.
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
from fwplab.ops.triton.kernels.chunks import (
    decays,
    dot,
    inverse,
    last_of,
    load_block,
    load_column,
    load_tile,
    store_block,
    store_column,
    store_tile,
)
from fwplab.ops.triton.kernels.launch import (
    bounds,
    check,
    check_tape,
    check_width,
    computed,
    launch,
    saved_rows,
    sequences,
    strides,
    tiling,
)
from fwplab.ops.triton.kernels.numerics import sequence_bounds

RULE = RULES["delta"]
CHUNK = 16
"""Positions in a chunk: the tile of a matrix product. With more, the backward pass needs too many registers."""


@triton.jit(do_not_specialize=["time", "heads"])
def forward_kernel(
    query, key, value, beta, log_decay, weight, cu_seqlens, output, last_weight, saved,
    q_batch, q_time, q_head, k_batch, k_time, k_head, v_batch, v_time, v_head, b_batch, b_time, b_head,
    l_batch, l_time, l_head,
    time, heads, KEY: tl.constexpr, VALUE: tl.constexpr, KEY_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr,
    SLICES: tl.constexpr, CHUNK: tl.constexpr, DOUBLINGS: tl.constexpr, GATED: tl.constexpr, KEEP: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """The forward pass of one sequence, head and slice of the values."""
    program, slice_index = tl.program_id(0).to(tl.int64) // SLICES, tl.program_id(0).to(tl.int64) % SLICES
    columns = slice_index * VALUE_BLOCK
    width = VALUE - columns
    sequence, head = program // heads, program % heads
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    query += batch * q_batch + start * q_time + head * q_head
    key += batch * k_batch + start * k_time + head * k_head
    value += batch * v_batch + start * v_time + head * v_head + columns
    beta += batch * b_batch + start * b_time + head * b_head
    if GATED:
        log_decay += batch * l_batch + start * l_time + head * l_head
    origin = batch * time + start
    output += (origin * heads + head) * VALUE + columns
    saved += ((origin // CHUNK + sequence) * heads + head) * KEY * VALUE + columns
    row, column = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]

    dtype = weight.dtype.element_ty
    weight += program * KEY * VALUE + columns
    last_weight += program * KEY * VALUE + columns
    W = load_block(weight, VALUE, KEY, width, KEY_BLOCK, VALUE_BLOCK)
    for index in range((length + CHUNK - 1) // CHUNK):
        first = index * CHUNK
        if KEEP:
            place = saved + index * heads * KEY * VALUE
            store_block(place, VALUE, KEY, width, W, KEY_BLOCK, VALUE_BLOCK)
        K = load_tile(key, first, length, k_time, KEY, dtype, CHUNK, KEY_BLOCK)
        V = load_tile(value, first, length, v_time, width, dtype, CHUNK, VALUE_BLOCK)
        b = load_column(beta, first, length, b_time, dtype, CHUNK)
        A = tl.where(row > column, b[:, None] * dot(K, tl.trans(K)), 0.0)
        read = dot(K, W)
        if GATED:
            D, since_start = decays(load_column(log_decay, first, length, l_time, dtype, CHUNK), CHUNK)
            A *= D
            read *= since_start[:, None]
        U = dot(inverse(A, CHUNK, DOUBLINGS), b[:, None] * (V - read))
        Q = load_tile(query, first, length, q_time, KEY, dtype, CHUNK, KEY_BLOCK)
        attention = tl.where(row >= column, dot(Q, tl.trans(K)), 0.0)
        out = dot(Q, W)
        if GATED:
            attention *= D
            out *= since_start[:, None]
            W *= last_of(since_start, CHUNK)
            K *= tl.sum(tl.where(row == CHUNK - 1, D, 0.0), 0)[:, None]
        out += dot(attention, U)
        W += dot(tl.trans(K), U)
        store_tile(output, first, length, heads * VALUE, width, out, CHUNK, VALUE_BLOCK)
    store_block(last_weight, VALUE, KEY, width, W, KEY_BLOCK, VALUE_BLOCK)


@triton.jit(do_not_specialize=["positions", "time", "heads"])
def backward_kernel(
    grad_output, grad_last_weight, query, key, value, beta, log_decay, saved, cu_seqlens,
    grad_query, grad_key, grad_value, grad_beta, grad_log_decay, grad_weight,
    g_batch, g_time, g_head, q_batch, q_time, q_head, k_batch, k_time, k_head, v_batch, v_time, v_head,
    b_batch, b_time, b_head, l_batch, l_time, l_head,
    positions, time, heads, KEY: tl.constexpr, VALUE: tl.constexpr, KEY_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr,
    SLICES: tl.constexpr, CHUNK: tl.constexpr, DOUBLINGS: tl.constexpr, GATED: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """The backward pass of one sequence, head and slice, from the last chunk to the first. G is the gradient of W."""
    program, slice_index = tl.program_id(0).to(tl.int64) // SLICES, tl.program_id(0).to(tl.int64) % SLICES
    columns = slice_index * VALUE_BLOCK
    width = VALUE - columns
    sequence, head = program // heads, program % heads
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    grad_output += batch * g_batch + start * g_time + head * g_head + columns
    query += batch * q_batch + start * q_time + head * q_head
    key += batch * k_batch + start * k_time + head * k_head
    value += batch * v_batch + start * v_time + head * v_head + columns
    beta += batch * b_batch + start * b_time + head * b_head
    if GATED:
        log_decay += batch * l_batch + start * l_time + head * l_head
    origin = batch * time + start
    grad_value += (origin * heads + head) * VALUE + columns
    # each slice of the values computes its own part of the sums over all values
    part = (slice_index * positions + origin) * heads + head
    grad_query += part * KEY
    grad_key += part * KEY
    grad_beta += part
    grad_log_decay += part
    saved += ((origin // CHUNK + sequence) * heads + head) * KEY * VALUE + columns
    row, column = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]

    dtype = saved.dtype.element_ty
    grad_last_weight += program * KEY * VALUE + columns
    grad_weight += program * KEY * VALUE + columns
    G = load_block(grad_last_weight, VALUE, KEY, width, KEY_BLOCK, VALUE_BLOCK)
    chunks = (length + CHUNK - 1) // CHUNK
    for index in range(chunks):
        chunk = chunks - 1 - index
        first = chunk * CHUNK
        # computes the values of the forward pass again
        place = saved + chunk * heads * KEY * VALUE
        W = load_block(place, VALUE, KEY, width, KEY_BLOCK, VALUE_BLOCK)
        K = load_tile(key, first, length, k_time, KEY, dtype, CHUNK, KEY_BLOCK)
        V = load_tile(value, first, length, v_time, width, dtype, CHUNK, VALUE_BLOCK)
        b = load_column(beta, first, length, b_time, dtype, CHUNK)
        overlap = tl.where(row > column, dot(K, tl.trans(K)), 0.0)
        read = dot(K, W)
        if GATED:
            D, since_start = decays(load_column(log_decay, first, length, l_time, dtype, CHUNK), CHUNK)
            to_end, over_chunk = tl.sum(tl.where(row == CHUNK - 1, D, 0.0), 0), last_of(since_start, CHUNK)
            overlap *= D
            read *= since_start[:, None]
        A = b[:, None] * overlap
        solve = inverse(A, CHUNK, DOUBLINGS)
        error = V - read
        U = dot(solve, b[:, None] * error)
        Q = load_tile(query, first, length, q_time, KEY, dtype, CHUNK, KEY_BLOCK)
        attention = tl.where(row >= column, dot(Q, tl.trans(K)), 0.0)
        if GATED:
            attention *= D
        # the output, then the errors
        grad_O = load_tile(grad_output, first, length, g_time, width, dtype, CHUNK, VALUE_BLOCK)
        grad_attention = tl.where(row >= column, dot(grad_O, tl.trans(U)), 0.0)
        grad_end = dot(K, G)  # of U by the update of W, before decay
        key_end = dot(U, tl.trans(G))
        if GATED:
            end = to_end * tl.sum(U * grad_end, 1)
            grad_end *= to_end[:, None]
            key_end *= to_end[:, None]
            grad_sums = grad_attention * attention
            grad_attention *= D
        grad_U = dot(tl.trans(attention), grad_O) + grad_end
        grad_right = dot(tl.trans(solve), grad_U)
        grad_overlap = tl.where(row > column, -dot(grad_right, tl.trans(U)), 0.0)  # of A
        grad_b = tl.sum(grad_overlap * overlap, 1) + tl.sum(grad_right * error, 1)
        grad_right *= b[:, None]
        store_tile(grad_value, first, length, heads * VALUE, width, grad_right, CHUNK, VALUE_BLOCK)
        store_column(grad_beta, first, length, heads, grad_b, CHUNK)
        if GATED:
            grad_sums += grad_overlap * A
            grad_overlap *= D
        grad_overlap *= b[:, None]
        # what W before the chunk did, and W itself
        if GATED:
            grad_right *= since_start[:, None]
            grad_O *= since_start[:, None]
            grad_sums = tl.where(row > column, grad_sums, 0.0)
            grad_log = tl.sum(grad_sums, 1) - tl.sum(grad_sums, 0) - end
            grad_log += tl.sum(grad_O * dot(Q, W), 1) - tl.sum(grad_right * dot(K, W), 1)
            at_end = tl.sum(end, 0) + over_chunk * tl.sum(tl.sum(G * W, 1), 0)
            grad_log = tl.cumsum(grad_log, 0, reverse=True) + at_end
            store_column(grad_log_decay, first, length, heads, grad_log, CHUNK)
            G *= over_chunk
        grad_Q = dot(grad_O, tl.trans(W)) + dot(grad_attention, K)
        store_tile(grad_query, first, length, heads * KEY, KEY, grad_Q, CHUNK, KEY_BLOCK)
        grad_K = key_end - dot(grad_right, tl.trans(W)) + dot(tl.trans(grad_attention), Q)
        grad_K += dot(grad_overlap + tl.trans(grad_overlap), K)
        store_tile(grad_key, first, length, heads * KEY, KEY, grad_K, CHUNK, KEY_BLOCK)
        G += dot(tl.trans(Q), grad_O) - dot(tl.trans(K), grad_right)
    store_block(grad_weight, VALUE, KEY, width, G, KEY_BLOCK, VALUE_BLOCK)


def delta(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    weight: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`(query, key, value, beta, log_decay, W_0, cu_seqlens) -> (output, W_T)`."""
    (weight,) = computed(query, weight)
    tensors = query, key, value, beta, log_decay, weight
    output, last_weight = forward(*tensors, cu_seqlens, needs_tape(*tensors))[:2]
    return output, last_weight


def allocate(query: Tensor, value: Tensor, weight: Tensor, cu_seqlens: Tensor | None, keep: bool) -> tuple[Tensor, ...]:
    """Allocates the results of the forward operator."""
    rows = saved_rows(query, cu_seqlens, CHUNK) if keep else 0
    return value.new_empty(value.shape), weight.new_empty(weight.shape), weight.new_empty(rows, *weight.shape[1:])


@as_operator("fwplab::triton_delta", None)
def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    weight: Tensor,
    cu_seqlens: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the output, the last W, and with `keep` the tape: W at the start of every chunk."""
    batch, time, heads, width = query.shape
    width_of_value, count = value.shape[-1], sequences(query, cu_seqlens)
    gate = beta if log_decay is None else log_decay
    check_width("delta", width, width_of_value)
    check(
        "delta",
        query,
        key=(key, (batch, time, heads, width)),
        value=(value, (batch, time, heads, width_of_value)),
        beta=(beta, (batch, time, heads)),
        log_decay=(gate, (batch, time, heads)),
        initial_state=(weight, (count, heads, width, width_of_value)),
    )
    output, last_weight, saved = allocate(query, value, weight, cu_seqlens, keep)
    query, key, value = with_rows(query), with_rows(key), with_rows(value)
    tiles = tiling(width, width_of_value, widest=16 if width <= 32 else 32)
    launch(
        forward_kernel,
        count * heads * tiles["SLICES"],
        query,
        *(query, key, value, beta, gate, weight.contiguous(), bounds(cu_seqlens, query.device)),
        *(output, last_weight, saved),
        *(*strides(query), *strides(key), *strides(value), *strides(beta), *strides(gate), time, heads),
        **tiles,
        CHUNK=CHUNK,
        DOUBLINGS=CHUNK.bit_length() - 2,
        GATED=log_decay is not None,
        KEEP=keep,
        PACKED=cu_seqlens is not None,
    )
    return output, last_weight, saved


@forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return allocate(query, value, *arguments[2:])


@as_operator("fwplab::triton_delta_backward", None)
def backward(
    grad_output: Tensor,
    grad_last_weight: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    saved: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value, beta, log_decay (no numbers without a gate) and `W_0`."""
    batch, time, heads, width = query.shape
    check_tape(saved.shape[0] == saved_rows(query, cu_seqlens, CHUNK))
    results = allocate_gradients(query, key, value, beta, log_decay, grad_last_weight)
    gate = beta if log_decay is None else log_decay
    tiles = tiling(width, value.shape[-1], widest=16)
    sums = [results[0], results[1], results[3], results[4]]  # sums over all values: each slice computes a part
    if tiles["SLICES"] > 1:
        sums = [saved.new_empty(tiles["SLICES"], *total.shape) for total in sums]
    places = *sums[:2], results[2], *sums[2:], results[5]
    grad_output, query, key, value = with_rows(grad_output), with_rows(query), with_rows(key), with_rows(value)
    launch(
        backward_kernel,
        grad_last_weight.shape[0] * heads * tiles["SLICES"],
        query,
        *(grad_output, grad_last_weight.contiguous(), query, key, value, beta, gate, saved.contiguous()),
        *(bounds(cu_seqlens, query.device), *places, *strides(grad_output)),
        *(*strides(query), *strides(key), *strides(value), *strides(beta), *strides(gate)),
        *(batch * time, time, heads),
        **tiles,
        CHUNK=CHUNK,
        DOUBLINGS=CHUNK.bit_length() - 2,
        GATED=log_decay is not None,
        PACKED=cu_seqlens is not None,
    )
    if tiles["SLICES"] > 1:
        for total, parts in zip((results[0], results[1], results[3], results[4]), sums, strict=True):
            total.copy_(parts.sum(0))
    return results


def allocate_gradients(
    query: Tensor, key: Tensor, value: Tensor, beta: Tensor, log_decay: Tensor | None, grad_last_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Allocates the results of the backward operator."""
    return (
        query.new_empty(query.shape),
        key.new_empty(key.shape),
        value.new_empty(value.shape),
        beta.new_empty(beta.shape),
        beta.new_empty(0, 0, beta.shape[2]) if log_decay is None else log_decay.new_empty(log_decay.shape),
        grad_last_weight.new_empty(grad_last_weight.shape),
    )


@backward.register_fake
def _(_: Tensor, grad_last_weight: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    query, key, value, beta, log_decay = arguments[:5]
    return allocate_gradients(query, key, value, beta, log_decay, grad_last_weight)


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor, ...], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the backward kernel."""
    (*inputs, weight, cu_seqlens, _), (tape,), (grad_output, grad_last_weight, *_) = arguments, saved, cotangents
    grad_output = torch.zeros_like(inputs[2]) if grad_output is None else grad_output
    grad_last_weight = torch.zeros_like(weight) if grad_last_weight is None else grad_last_weight
    *found, grad_log_decay, grad_weight = backward(grad_output, grad_last_weight, *inputs, tape, cu_seqlens)
    return *found, None if inputs[4] is None else grad_log_decay, grad_weight


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same output and last W computed by the definition of the rule."""
    *tensors, cu_seqlens, _ = arguments
    return RULE.results(*tensors, cu_seqlens=cu_seqlens)


forward.register_autograd(gradients, tensors=7, saves=(2,), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:6], dims[:6], RULE.axes, strict=True)]
    results = forward(*tensors, arguments[6], arguments[7] or needs_tape(*tensors))
    return unfold(results, (2, 1, 1), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    axes = (RULE.axes[0], RULE.axes[-1], *RULE.axes)
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:8], dims[:8], axes, strict=True)]
    return unfold(backward(*tensors, arguments[8]), RULE.axes, info.batch_size)
