"""The element-wise cell as a PyTorch operator: compiled forward and analytic backward.

The channels are independent, so all heads are joined to one wide head: `[batch, time, channels]`.
"""

from typing import Any

import torch
from torch import Tensor

from fwplab.ops.cpu.kernels import Order, Place, Plan, call, check, packing, registers, strided
from fwplab.ops.folding import Mapped, fold, unfold
from fwplab.ops.operator import Found, as_operator, with_rows
from fwplab.ops.rule import RULES

RULE = RULES["elementwise"]


def elementwise(
    z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor, *, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`(z, f, w_z, w_f, c_0) -> (all c, c_T)`; `fwplab.ops.elementwise` has the equations.

    - `z`, `f`: `[batch, time, heads, d]`, float32 or float64 like all tensors.
    - `w_z`, `w_f`: `[heads, d]`.
    - `cell`: `c_0`, `[sequences, heads, d]`.

    Raises `UserError` for other shapes and data types.
    """
    if f.shape != z.shape or w_z.shape != z.shape[2:] or w_f.shape != w_z.shape or cell.shape[1:] != w_z.shape:
        raise ValueError("elementwise: shapes that flatten alike")
    flat = z.flatten(-2), f.flatten(-2), w_z.flatten(), w_f.flatten(), cell.flatten(-2)
    output, last = forward(*flat, cu_seqlens)
    return output.unflatten(-1, z.shape[-2:]), last.unflatten(-1, z.shape[-2:])


def place(tensor: Tensor) -> Place:
    """Describes a tensor `[batch, time, channels]`, `[batch, channels]` or `[channels]` for the library."""
    strides = tensor.stride()
    return strided(tensor, strides[0] if len(strides) > 1 else 0, strides[1] if len(strides) > 2 else 0, 0)


def make_plan(z: Tensor, cu_seqlens: Tensor | None) -> Plan:
    """The plan: one task for each sequence and block of channels."""
    packed = None if cu_seqlens is None else packing(cu_seqlens, z)
    lanes = registers() // z.element_size()
    return Plan(Order.ROWS, lanes, together=1, teams=1, segment=1, groups=(z.shape[1],), packing=packed)


@as_operator("fwplab::elementwise")
def forward(
    z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns all cells and the last cell."""
    batch, length, channels = z.shape
    weight, own = (channels,), make_plan(z, cu_seqlens)
    check(
        "elementwise",
        z,
        f=(f, (batch, length, channels)),
        w_z=(w_z, weight),
        w_f=(w_f, weight),
        cell=(cell, (own.sequences(batch), channels)),
    )
    output, last = torch.empty_like(z, memory_format=torch.contiguous_format), cell.new_empty(cell.shape)
    inputs = [with_rows(t) for t in (z, f, w_z, w_f, cell)]
    call("elementwise_forward", own.problem(z.unsqueeze(2)), [place(t) for t in (*inputs, output, last)])
    return output, last


@forward.register_fake
def _(z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor, cu_seqlens: Tensor | None) -> tuple[Tensor, Tensor]:
    return torch.empty_like(z, memory_format=torch.contiguous_format), cell.new_empty(cell.shape)


@as_operator("fwplab::elementwise_backward")
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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of z, f, `[w_z; w_f]` in one tensor, and the first cell."""
    inputs = [with_rows(t) for t in (grad_output, grad_last, z, f, w_z, w_f, cell, output)]
    own, (grad_z, grad_f, grad_weights, grad_cell) = make_plan(z, cu_seqlens), gradients_like(z, cell)
    places = [place(t) for t in (*inputs, grad_z, grad_f, grad_cell)]
    call("elementwise_backward", own.problem(z.unsqueeze(2)), places, grad_weights.data_ptr())
    return grad_z, grad_f, grad_weights, grad_cell


def gradients_like(z: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Allocates the results of the backward operator."""
    return z.new_empty(z.shape), z.new_empty(z.shape), z.new_empty(2, z.shape[-1]), cell.new_empty(cell.shape)


@backward.register_fake
def _(grad_output: Tensor, grad_last: Tensor, z: Tensor, *_: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return gradients_like(z, grad_last)


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the compiled backward pass."""
    (*inputs, cu_seqlens), (output,), (grad_output, grad_last) = arguments, saved, cotangents
    if grad_output is None:
        grad_output = torch.zeros_like(inputs[0])
    if grad_last is None:
        grad_last = torch.zeros_like(inputs[4])
    grad_z, grad_f, grad_weights, grad_cell = backward(grad_output, grad_last, *inputs, output, cu_seqlens)
    return grad_z, grad_f, grad_weights[0].clone(), grad_weights[1].clone(), grad_cell


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same cells, computed by the definition. It works on single elements, so that heads may be joined."""
    *tensors, cu_seqlens = arguments
    return RULE.results(*tensors, cu_seqlens=cu_seqlens)


forward.register_autograd(gradients, tensors=6, saves=(0,), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:5], dims[:5], RULE.axes, strict=True)]
    return unfold(forward(*tensors, arguments[5]), (RULE.axes[0], RULE.axes[-1]), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    axes = (RULE.axes[0], RULE.axes[-1], *RULE.axes, RULE.axes[0])
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:8], dims[:8], axes, strict=True)]
    return unfold(backward(*tensors, arguments[8]), (2, 2, 1, 1), info.batch_size)
