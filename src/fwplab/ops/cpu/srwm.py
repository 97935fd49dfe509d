"""The self-referential weight matrix as a PyTorch operator: compiled forward and analytic backward."""

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

WIDEST_LANES = 8
RATES = 4


def srwm(*arguments: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`(x, W_y, W_q, W_k, w_b) -> (output, W_y, W_q, W_k, w_b)`, the blocks before and after; `fwplab.ops.srwm` has the
    equations.

    Shapes: `[batch, time, heads, d]`, `[batch, heads, d, d]` three times, `[batch, heads, d, 4]`; float32 or float64.
    Raises `UserError` for anything else.
    """
    output, *blocks, _ = forward(*arguments, needs_tape(*arguments))
    return output, *blocks


def allocate(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A sequence and the four blocks, not yet written: results or gradients."""
    batch, _, heads, width = x.shape
    return (
        x.new_empty(x.shape),
        x.new_empty(batch, heads, width, width),
        x.new_empty(batch, heads, width, width),
        x.new_empty(batch, heads, width, width),
        x.new_empty(batch, heads, width, RATES),
    )


def allocate_tape(x: Tensor, cut: Plan, keep: bool) -> Tensor:
    """What the forward pass leaves for the backward pass."""
    return x.new_empty(tape_size(x, cut) if keep else (x.shape[2], 0), dtype=torch.uint8)


def tape_size(x: Tensor, cut: Plan) -> tuple[int, int]:
    """Heads, and bytes for one head: each step's `[x | q | k | b | r]` and W before every segment."""
    _, length, heads, width = x.shape
    columns = 3 * cut.vectors(width) + cut.vectors(RATES)
    return heads, cut.tape_bytes(x, matrix=width * columns, slot=2 * columns)


@torch.library.custom_op("fwplab::srwm", mutates_args=(), device_types="cpu")
def forward(
    x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Output, the four last blocks, and if `keep` the tape that the backward pass reads (else it is empty)."""
    batch, _, heads, width = x.shape
    square = (batch, heads, width, width)
    check("srwm", x, w_y=(w_y, square), w_q=(w_q, square), w_k=(w_k, square), w_b=(w_b, (*square[:3], RATES)))
    cut = plan(x, WIDEST_LANES)
    (output, last_y, last_q, last_k, last_b), tape = allocate(x), allocate_tape(x, cut, keep)
    x, *initial = map(with_rows, (x, w_y, w_q, w_k, w_b))
    places = [sequence(x), *map(state, initial), sequence(output), *map(state, (last_y, last_q, last_k, last_b))]
    call("srwm_forward", cut.problem(x), places, *cut.tape(tape))
    return output, last_y, last_q, last_k, last_b, tape


@forward.register_fake
def _(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return *allocate(x), allocate_tape(x, plan(x, WIDEST_LANES), arguments[-1])


@torch.library.custom_op("fwplab::srwm_backward", mutates_args=(), device_types="cpu")
def backward(
    grad_output: Tensor, grad_y: Tensor, grad_q: Tensor, grad_k: Tensor, grad_b: Tensor, tape: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x and the four blocks at the start, from those of the output and the four blocks at the end."""
    cut = plan(grad_output, WIDEST_LANES)
    check_tape(tape, tape_size(grad_output, cut))
    grad_output, *last = map(with_rows, (grad_output, grad_y, grad_q, grad_k, grad_b))
    tape = tape.contiguous()
    gradients = allocate(grad_output)
    places = [sequence(grad_output), *map(state, last), sequence(gradients[0]), *map(state, gradients[1:])]
    call("srwm_backward", cut.problem(grad_output), places, *cut.tape(tape))
    return gradients


@backward.register_fake
def _(grad_output: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    return allocate(grad_output)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[-1])
    ctx.shape, ctx.dtype = inputs[0].shape, inputs[0].dtype


def differentiate(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    (tape,) = ctx.saved_tensors
    batch, length, heads, width = ctx.shape
    square = (batch, heads, width, width)
    shapes = ((batch, length, heads, width), square, square, square, (*square[:3], RATES))
    filled = [
        torch.zeros(shape, dtype=ctx.dtype, device=tape.device) if grad is None else grad
        for grad, shape in zip(grads[:-1], shapes, strict=True)
    ]
    return (*backward(*filled, tape), None)


forward.register_autograd(differentiate, setup_context=setup_context)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    axes = (2, 1, 1, 1, 1)
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:-1], dims[:-1], axes, strict=True)]
    results = forward(*tensors, arguments[-1] or needs_tape(*tensors))
    return unfold(results, (2, 1, 1, 1, 1, 0), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    axes = (2, 1, 1, 1, 1, 0)
    tensors = [fold(*each, info.batch_size) for each in zip(arguments, dims, axes, strict=True)]
    return unfold(backward(*tensors), (2, 1, 1, 1, 1), info.batch_size)
