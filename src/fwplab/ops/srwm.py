"""The self-referential weight matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from fwplab.ops import cpu
from fwplab.ops.scan import Forms, Scan, choose


def srwm(
    x: Float[Tensor, "batch time heads d"],
    w_y: Float[Tensor, "*batch heads d d"],
    w_q: Float[Tensor, "*batch heads d d"],
    w_k: Float[Tensor, "*batch heads d d"],
    w_b: Float[Tensor, "*batch heads d 4"],
    *,
    initial_state: tuple[Tensor, ...] | None = None,
    backend: str = "auto",
) -> Scan:
    """A weight matrix that rewrites itself: `W = [W_y, W_q, W_k, w_b]`.

    `y = x W_y`, `q = softmax(x W_q)`, `k = softmax(x W_k)`, `b = sigmoid(x w_b)` (four rates, one a block), then
    for every block `W_j += b_j k^T (q W_j - k W_j)`, all four with the old `W`. The output is `y`, from before the
    update. `w_*` are the values at the start, shared by the batch (`[heads, d, d]`, `w_b` `[heads, d, 4]`) or one
    per sequence (`[batch, heads, d, d]`); `initial_state`, if given, takes their place.
    State: the four blocks, `[batch, heads, d, d]` three times and `[batch, heads, d, 4]`. Backends: `cpu`
    (compiled), `reference`. Source: arXiv 2310.16076, section 2; the rule is that of arXiv 2202.05780.
    Raises `UserError` for an unknown backend, or `cpu` where it cannot run.
    """
    blocks: tuple[Tensor, ...] = initial_state or (w_y, w_q, w_k, w_b)
    if blocks[0].dim() == 3:
        blocks = tuple(block.expand(x.shape[0], *block.shape) for block in blocks)
    return choose("srwm", FORMS, backend, x)(x, *blocks)


def step(state: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One position, `x` `[batch, heads, d]`; returns `y` and the four rewritten blocks."""
    row = x.unsqueeze(-2)
    output, query, key, rates = (row @ block for block in state)
    query, key, rates = query.softmax(-1), key.softmax(-1), torch.sigmoid(rates)
    moved = (
        block + key.transpose(-1, -2) @ (rate * ((query - key) @ block))
        for block, rate in zip(state, rates.split(1, dim=-1), strict=True)
    )
    return output.squeeze(-2), tuple(moved)


def reference(x: Tensor, w_y: Tensor, w_q: Tensor, w_k: Tensor, w_b: Tensor) -> Scan:
    """The definition: one step after the other."""
    state: tuple[Tensor, ...] = (w_y, w_q, w_k, w_b)
    outputs = []
    for at_time in x.unbind(1):
        output, state = step(state, at_time)
        outputs.append(output)
    return Scan(torch.stack(outputs, dim=1) if outputs else torch.zeros_like(x), state)


def compiled(*arguments: Tensor) -> Scan:
    """The kernel of `fwplab.ops.cpu`, forward and analytic backward in compiled code."""
    output, *state = cpu.srwm(*arguments)
    return Scan(output, tuple(state))


FORMS: Forms = {"reference": reference, "cpu": compiled}
