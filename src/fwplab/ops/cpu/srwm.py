"""The self-referential weight matrix as a PyTorch operator, with an analytic backward pass."""

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
    require_tape,
    sequence,
    state,
    unknown_tape,
)
from fwplab.ops.folding import Mapped, fold, one_by_one, unfold
from fwplab.ops.operator import Found, as_operator, needs_tape, with_rows
from fwplab.ops.rule import RULES
from fwplab.ops.variation import PAPER, Variation

WIDEST_LANES = 8
RATES = 4
RULE = RULES["srwm"]


def srwm(
    *arguments: Tensor, cu_seqlens: Tensor | None = None, variation: Variation = PAPER
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`(x, W_y, W_q, W_k, w_b) -> (output, W_y, W_q, W_k, w_b)`, with the initial and the last blocks.

    `fwplab.ops.srwm` has the equations.

    - x: `[batch, time, heads, d]`, float32 or float64 like all tensors.
    - W_y, W_q, W_k: `[sequences, heads, d, d]`.
    - w_b: `[sequences, heads, d, 4]`.

    Raises `UserError` for other shapes and data types.
    """
    output, *blocks = forward(*arguments, cu_seqlens, needs_tape(*arguments), variation.code)[:5]
    return output, *blocks


def results_like(x: Tensor, block: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Allocates a sequence and four blocks, for results or gradients."""
    return (
        x.new_empty(x.shape),
        block.new_empty(block.shape),
        block.new_empty(block.shape),
        block.new_empty(block.shape),
        block.new_empty(*block.shape[:3], RATES),
    )


def allocate_tape(x: Tensor, own: Plan, variation: int) -> Tensor:
    """Allocates the tape: `[x | q | k | b | r]` of each step (a variation adds scales), and W at segment boundaries."""
    columns = 3 * own.vectors(x.shape[-1]) + own.vectors(RATES)
    return own.tape(x, matrix=x.shape[-1] * columns, slot=2 * columns + (SCALES if variation else 0))


@as_operator("fwplab::srwm")
def forward(
    x: Tensor,
    w_y: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_b: Tensor,
    cu_seqlens: Tensor | None,
    keep: bool,
    variation: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the output, the four last blocks, and the tape for the backward pass, which is empty without `keep`."""
    batch, _, heads, width = x.shape
    own = plan(x, WIDEST_LANES, cu_seqlens, varied=bool(variation))
    square = (own.sequences(batch), heads, width, width)
    check("srwm", x, w_y=(w_y, square), w_q=(w_q, square), w_k=(w_k, square), w_b=(w_b, (*square[:3], RATES)))
    results = results_like(x, w_y)
    tape = allocate_tape(x, own, variation) if keep else x.new_empty(heads, 0, dtype=torch.uint8)
    x, *initial = map(with_rows, (x, w_y, w_q, w_k, w_b))
    places = [sequence(x), *map(state, initial), sequence(results[0]), *map(state, results[1:])]
    call("srwm_forward", own.problem(x, variation), places, *address(tape))
    return *results, tape


@forward.register_fake
def _(x: Tensor, w_y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *_, cu_seqlens, keep, variation = arguments

    def allocate() -> Tensor:
        return allocate_tape(x, plan(x, WIDEST_LANES, None, varied=bool(variation)), variation)

    tape = unknown_tape(x, keep, allocate, cu_seqlens)
    return *results_like(x, w_y), tape


@as_operator("fwplab::srwm_backward")
def backward(
    grad_output: Tensor,
    grad_y: Tensor,
    grad_q: Tensor,
    grad_k: Tensor,
    grad_b: Tensor,
    tape: Tensor,
    cu_seqlens: Tensor | None,
    variation: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x and the four initial blocks, from those of the output and the four last blocks."""
    own = plan(grad_output, WIDEST_LANES, cu_seqlens, varied=bool(variation))
    grad_output, *last = map(with_rows, (grad_output, grad_y, grad_q, grad_k, grad_b))
    tape, results = require_tape(tape, grad_output), results_like(grad_output, grad_y)
    places = [sequence(grad_output), *map(state, last), sequence(results[0]), *map(state, results[1:])]
    call("srwm_backward", own.problem(grad_output, variation), places, *address(tape))
    return results


@backward.register_fake
def _(grad_output: Tensor, grad_y: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return results_like(grad_output, grad_y)


def gradients(arguments: tuple[Any, ...], saved: tuple[Tensor], cotangents: tuple[Tensor | None, ...]) -> Found:
    """The gradients of the tensor arguments, computed by the compiled backward pass."""
    *tensors, cu_seqlens, _, variation = arguments
    given = zip(cotangents, tensors, strict=False)
    filled = [tensor.new_zeros(tensor.shape) if cotangent is None else cotangent for cotangent, tensor in given]
    found: Found = backward(*filled, saved[0], cu_seqlens, variation)
    return found


def definition(*arguments: Any) -> tuple[Tensor, ...]:
    """The same output and blocks, computed by the definition of the rule."""
    *tensors, cu_seqlens, _, code = arguments
    return RULE.results(*tensors, cu_seqlens=cu_seqlens, variation=Variation.from_code(code))


forward.register_autograd(gradients, tensors=6, saves=(5,), definition=definition)


@forward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:5], dims[:5], RULE.axes, strict=True)]
    results = forward(*tensors, arguments[5], arguments[6] or needs_tape(*tensors), arguments[7])
    return unfold(results, (*RULE.axes, 0), info.batch_size)


@backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> Mapped:
    if dims[5] is None:
        return one_by_one(backward, dims, arguments, info.batch_size)
    axes = (*RULE.axes, 0)
    tensors = [fold(*each, info.batch_size) for each in zip(arguments[:6], dims[:6], axes, strict=True)]
    return unfold(backward(*tensors, *arguments[6:]), RULE.axes, info.batch_size)
