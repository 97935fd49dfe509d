"""The additive rule in chunks.

There is one program for each sequence, head and slice of the values. It keeps its columns of W from chunk to chunk:
`O = Q W + tril(Q K^T) V`, then `W += K^T V`.

The gradients are additive rules too: `dQ` forwards in time, `dK` and `dV` backwards. One kernel, which can run in both
directions, therefore computes both passes and needs no tape.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc,import-untyped"
# ruff: noqa: N803

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fwplab.ops.folding import Mapped, fold, unfold
from fwplab.ops.operator import Found, as_operator, with_rows
from fwplab.ops.rule import RULES
from fwplab.ops.triton.kernels.chunks import (
    dot,
    load_block,
    load_tile,
    store_block,
    store_tile,
)
from fwplab.ops.triton.kernels.launch import (
    bounds,
    check,
    check_width,
    computed,
    launch,
    sequences,
    strides,
    tiling,
)
from fwplab.ops.triton.kernels.numerics import sequence_bounds

RULE = RULES["linear"]
CHUNK = 32


@triton.jit(do_not_specialize=["time", "heads"])
def kernel(
    query, key, value, weight, cu_seqlens, output, last_weight,
    q_batch, q_time, q_head, k_batch, k_time, k_head, v_batch, v_time, v_head,
    time, heads, KEY: tl.constexpr, VALUE: tl.constexpr, KEY_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr,
    SLICES: tl.constexpr, CHUNK: tl.constexpr, REVERSE: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """All chunks of one sequence, head and slice of the values. With `REVERSE` from the last chunk to the first."""
    program, columns = tl.program_id(0).to(tl.int64) // SLICES, tl.program_id(0) % SLICES * VALUE_BLOCK
    width = VALUE - columns
    sequence, head = program // heads, program % heads
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    query += batch * q_batch + start * q_time + head * q_head
    key += batch * k_batch + start * k_time + head * k_head
    value += batch * v_batch + start * v_time + head * v_head + columns
    output += ((batch * time + start) * heads + head) * VALUE + columns
    row, column = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]
    written = column >= row if REVERSE else column <= row

    dtype = weight.dtype.element_ty
    weight += program * KEY * VALUE + columns
    last_weight += program * KEY * VALUE + columns
    W = load_block(weight, VALUE, KEY, width, KEY_BLOCK, VALUE_BLOCK)
    chunks = (length + CHUNK - 1) // CHUNK
    for index in range(chunks):
        first = (chunks - 1 - index if REVERSE else index) * CHUNK
        Q = load_tile(query, first, length, q_time, KEY, dtype, CHUNK, KEY_BLOCK)
        K = load_tile(key, first, length, k_time, KEY, dtype, CHUNK, KEY_BLOCK)
        V = load_tile(value, first, length, v_time, width, dtype, CHUNK, VALUE_BLOCK)
        attention = tl.where(written, dot(Q, tl.trans(K)), 0.0)
        out = dot(Q, W) + dot(attention, V)
        W += dot(tl.trans(K), V)
        store_tile(output, first, length, heads * VALUE, width, out, CHUNK, VALUE_BLOCK)
    store_block(last_weight, VALUE, KEY, width, W, KEY_BLOCK, VALUE_BLOCK)


def linear(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`(query, key, value, W_0, cu_seqlens) -> (output, W_T)`."""
    output, last_weight = forward(query, key, value, *computed(query, weight), cu_seqlens, False)
    return output, last_weight


def allocate(value: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Allocates the results of the operator."""
    return value.new_empty(value.shape), weight.new_empty(weight.shape)


@as_operator("fwplab::triton_linear", None)
def forward(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, cu_seqlens: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Returns the output and the last W. With `reverse` time runs backwards, and W is that before position 0."""
    batch, time, heads, width = query.shape
    width_of_value, count = value.shape[-1], sequences(query, cu_seqlens)
    check_width("linear", width, width_of_value)
    check(
        "linear",
        query,
        key=(key, (batch, time, heads, width)),
        value=(value, (batch, time, heads, width_of_value)),
        initial_state=(weight, (count, heads, width, width_of_value)),
    )
    results = allocate(value, weight)
    query, key, value = with_rows(query), with_rows(key), with_rows(value)
    tiles = tiling(width, width_of_value, widest=16 if width <= 32 else 32)
    launch(
        kernel,
        count * heads * tiles["SLICES"],
        query,
        *(query, key, value, weight.contiguous(), bounds(cu_seqlens, query.device), *results),
        *(*strides(query), *strides(key), *strides(value), time, heads),
        **tiles,
        CHUNK=CHUNK,
        REVERSE=reverse,
        PACKED=cu_seqlens is not None,
    )
    return results


@forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return allocate(value, weight)


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor, ...], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the backward kernel."""
    (query, key, value, weight, cu_seqlens, reverse), (grad_output, grad_last) = arguments, cotangents
    grad_output = torch.zeros_like(value) if grad_output is None else grad_output
    grad_last = torch.zeros_like(weight) if grad_last is None else grad_last
    grad_query, _ = forward(grad_output, value, key, weight.mT, cu_seqlens, reverse)
    grad_key, _ = forward(value, grad_output, query, grad_last.mT, cu_seqlens, not reverse)
    grad_value, grad_weight = forward(key, query, grad_output, grad_last, cu_seqlens, not reverse)
    return grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value, grad_weight


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same output and last W computed by the definition of the rule."""
    *tensors, cu_seqlens, _ = arguments
    return RULE.results(*tensors, cu_seqlens=cu_seqlens)


forward.register_autograd(gradients, tensors=5, saves=(), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:4], dims[:4], RULE.axes, strict=True)]
    return unfold(forward(*tensors, *arguments[4:]), (2, 1), info.batch_size)
