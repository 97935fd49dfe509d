"""The element-wise recurrence: one program for each sequence, head and block of channels, with the cell in registers.

All cells are results in the computed type. The backward pass reads them and needs no other tape.
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
from fwplab.ops.triton.kernels.launch import (
    block,
    bounds,
    check,
    compute_type,
    computed,
    launch,
    sequences,
    strides,
)
from fwplab.ops.triton.kernels.numerics import load_row, sequence_bounds, sigmoid, store_row, tanh

RULE = RULES["elementwise"]


@triton.jit(do_not_specialize=["time", "heads"])
def forward_kernel(
    z, f, w_z, w_f, cell, cu_seqlens, output, last,
    z_batch, z_time, z_head, f_batch, f_time, f_head,
    time, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr, RUNS: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """The forward pass of one sequence, head and block of channels."""
    program, channel = tl.program_id(0).to(tl.int64) // RUNS, tl.program_id(0) % RUNS * BLOCK
    sequence, head, width = program // heads, program % heads, WIDTH - channel
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    z += batch * z_batch + start * z_time + head * z_head + channel
    f += batch * f_batch + start * f_time + head * f_head + channel
    output += ((batch * time + start) * heads + head) * WIDTH + channel
    dtype = cell.dtype.element_ty
    place = program * WIDTH + channel
    c = load_row(cell + place, 0, 0, width, True, BLOCK)
    weight_z = load_row(w_z + head * WIDTH + channel, 0, 0, width, True, BLOCK)
    weight_f = load_row(w_f + head * WIDTH + channel, 0, 0, width, True, BLOCK)
    z_next, f_next = load_row(z, 0, z_time, width, length > 0, BLOCK), load_row(f, 0, f_time, width, length > 0, BLOCK)
    for t in range(length):
        # the next inputs are loaded while this step computes
        z_t, z_next = z_next.to(dtype), load_row(z, t + 1, z_time, width, t + 1 < length, BLOCK)
        f_t, f_next = f_next.to(dtype), load_row(f, t + 1, f_time, width, t + 1 < length, BLOCK)
        forget = sigmoid(f_t + weight_f * c)
        c = forget * c + (1.0 - forget) * tanh(z_t + weight_z * c)
        store_row(output, t, heads * WIDTH, width, c, BLOCK)
    store_row(last + place, 0, 0, width, c, BLOCK)


@triton.jit(do_not_specialize=["time", "heads"])
def backward_kernel(
    grad_output, grad_last, z, f, w_z, w_f, cell, output, cu_seqlens,
    grad_z, grad_f, grad_w_z, grad_w_f, grad_cell,
    g_batch, g_time, g_head, z_batch, z_time, z_head, f_batch, f_time, f_head,
    time, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr, RUNS: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """The backward pass of one sequence, head and block of channels, from the last step to the first."""
    program, channel = tl.program_id(0).to(tl.int64) // RUNS, tl.program_id(0) % RUNS * BLOCK
    sequence, head, width = program // heads, program % heads, WIDTH - channel
    batch, start, length = sequence_bounds(cu_seqlens, sequence, time, PACKED)
    grad_output += batch * g_batch + start * g_time + head * g_head + channel
    z += batch * z_batch + start * z_time + head * z_head + channel
    f += batch * f_batch + start * f_time + head * f_head + channel
    row, step = ((batch * time + start) * heads + head) * WIDTH + channel, heads * WIDTH
    output += row
    grad_z += row
    grad_f += row
    dtype = cell.dtype.element_ty
    place = program * WIDTH + channel
    grad = load_row(grad_last + place, 0, 0, width, True, BLOCK)
    initial = load_row(cell + place, 0, 0, width, True, BLOCK)
    weight_z = load_row(w_z + head * WIDTH + channel, 0, 0, width, True, BLOCK)
    weight_f = load_row(w_f + head * WIDTH + channel, 0, 0, width, True, BLOCK)
    sum_z, sum_f = grad * 0.0, grad * 0.0
    for s in range(length):
        t = length - 1 - s
        before = tl.where(t > 0, load_row(output, t - 1, step, width, t > 0, BLOCK), initial)
        candidate = tanh(load_row(z, t, z_time, width, True, BLOCK).to(dtype) + weight_z * before)
        forget = sigmoid(load_row(f, t, f_time, width, True, BLOCK).to(dtype) + weight_f * before)
        grad += load_row(grad_output, t, g_time, width, True, BLOCK).to(dtype)
        to_z = grad * (1.0 - forget) * (1.0 - candidate * candidate)
        to_f = grad * (before - candidate) * forget * (1.0 - forget)
        grad = grad * forget + to_z * weight_z + to_f * weight_f
        sum_z += to_z * before
        sum_f += to_f * before
        store_row(grad_z, t, step, width, to_z, BLOCK)
        store_row(grad_f, t, step, width, to_f, BLOCK)
    store_row(grad_cell + place, 0, 0, width, grad, BLOCK)
    store_row(grad_w_z + place, 0, 0, width, sum_z, BLOCK)
    store_row(grad_w_f + place, 0, 0, width, sum_f, BLOCK)


def elementwise(
    z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`(z, f, w_z, w_f, c_0, cu_seqlens) -> (all c, c_T)`."""
    output, last = forward(z, f, *computed(z, w_z, w_f, cell), cu_seqlens)
    return output.to(z.dtype), last


def options(width: int) -> dict[str, Any]:
    """The number of channels in a block, at most 128, and the number of warps."""
    run = min(block(width), 128)
    return {"WIDTH": width, "BLOCK": run, "RUNS": max(1, -(-width // run)), "num_warps": max(1, run // 32)}


def allocate(z: Tensor, cu_seqlens: Tensor | None) -> tuple[Tensor, Tensor]:
    """Allocates the results of the forward operator."""
    dtype = compute_type(z)
    return z.new_empty(z.shape, dtype=dtype), z.new_empty(sequences(z, cu_seqlens), *z.shape[2:], dtype=dtype)


@as_operator("fwplab::triton_elementwise", None)
def forward(
    z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """All cells and the last one, as computed."""
    _, time, heads, width = z.shape
    count = sequences(z, cu_seqlens)
    weight, cells = (heads, width), (count, heads, width)
    check("elementwise", z, f=(f, tuple(z.shape)), w_z=(w_z, weight), w_f=(w_f, weight), initial_state=(cell, cells))
    output, last = allocate(z, cu_seqlens)
    z, f, settings = with_rows(z), with_rows(f), options(width)
    launch(
        forward_kernel,
        count * heads * settings["RUNS"],
        z,
        *(z, f, w_z.contiguous(), w_f.contiguous(), cell.contiguous(), bounds(cu_seqlens, z.device), output, last),
        *(*strides(z), *strides(f), time, heads),
        **settings,
        PACKED=cu_seqlens is not None,
    )
    return output, last


@forward.register_fake
def _(z: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    return allocate(z, arguments[-1])


@as_operator("fwplab::triton_elementwise_backward", None)
def backward(
    grad_output: Tensor,
    grad_last: Tensor,
    z: Tensor,
    f: Tensor,
    w_z: Tensor,
    w_f: Tensor,
    cell: Tensor,
    output: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of z, f, of w_z and w_f by sequences, and of the first cell."""
    _, time, heads, width = z.shape
    results = allocate_gradients(z, f, cell)
    grad_output, z, f, settings = with_rows(grad_output), with_rows(z), with_rows(f), options(width)
    slow = (tensor.contiguous() for tensor in (w_z, w_f, cell, output))
    launch(
        backward_kernel,
        cell.shape[0] * heads * settings["RUNS"],
        z,
        *(grad_output, grad_last.contiguous(), z, f, *slow, bounds(cu_seqlens, z.device), *results),
        *(*strides(grad_output), *strides(z), *strides(f), time, heads),
        **settings,
        PACKED=cu_seqlens is not None,
    )
    return results


def allocate_gradients(z: Tensor, f: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Allocates the results of the backward operator."""
    grad_w_z, grad_w_f, grad_cell = (cell.new_empty(cell.shape) for _ in range(3))
    return z.new_empty(z.shape), f.new_empty(f.shape), grad_w_z, grad_w_f, grad_cell


@backward.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    return allocate_gradients(arguments[2], arguments[3], arguments[6])


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor, ...], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the backward kernel."""
    (*inputs, cu_seqlens), (output,), (grad_output, grad_last) = arguments, saved, cotangents
    grad_output = torch.zeros_like(output) if grad_output is None else grad_output
    grad_last = torch.zeros_like(inputs[4]) if grad_last is None else grad_last
    grad_z, grad_f, grad_w_z, grad_w_f, grad_cell = backward(grad_output, grad_last, *inputs, output, cu_seqlens)
    return grad_z, grad_f, grad_w_z.sum(0), grad_w_f.sum(0), grad_cell


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same cells computed by the definition of the rule."""
    *tensors, cu_seqlens = arguments
    return RULE.results(*tensors, cu_seqlens=cu_seqlens)


forward.register_autograd(gradients, tensors=6, saves=(0,), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:5], dims[:5], RULE.axes, strict=True)]
    return unfold(forward(*tensors, arguments[5]), (2, 1), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    axes = (RULE.axes[0], RULE.axes[-1], *RULE.axes, RULE.axes[0])
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:8], dims[:8], axes, strict=True)]
    return unfold(backward(*tensors, arguments[8]), (2, 2, 1, 1, 1), info.batch_size)
