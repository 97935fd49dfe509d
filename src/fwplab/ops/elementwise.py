"""The element-wise recurrence of the e-LSTM."""

import torch
from jaxtyping import Float
from torch import Tensor

from fwplab.ops import cpu
from fwplab.ops.scan import Forms, Scan, choose


def elementwise(
    z: Float[Tensor, "batch time heads d"],
    f: Float[Tensor, "batch time heads d"],
    w_z: Float[Tensor, "heads d"],
    w_f: Float[Tensor, "heads d"],
    *,
    initial_state: Float[Tensor, "batch heads d"] | None = None,
    backend: str = "auto",
) -> Scan:
    """A gated cell whose recurrence is element by element.

    `zt = tanh(z + w_z c)`, `ft = sigmoid(f + w_f c)`, `c = ft c + (1 - ft) zt`; the outputs are all `c`. `z` and `f`
    are projections of the input with their biases, before tanh and sigmoid.
    State: `c`, `[batch, heads, d]`, zero at the start. Backends: `cpu` (compiled), `reference`.
    Source: arXiv 2310.16076, appendix; the cell is that of arXiv 2305.19044. Raises `UserError` for an unknown
    backend, or `cpu` where it cannot run.
    """
    if initial_state is None:
        initial_state = z.new_zeros(z.shape[0], *z.shape[2:])
    return choose("elementwise", FORMS, backend, z)(z, f, w_z, w_f, initial_state)


def step(cell: Tensor, z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor) -> Tensor:
    """One position, all `[batch, heads, d]`; returns the new cell."""
    forget = torch.sigmoid(f + w_f * cell)
    return forget * cell + (1 - forget) * torch.tanh(z + w_z * cell)


def reference(z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor) -> Scan:
    """The definition: one step after the other."""
    cells = []
    for z_t, f_t in zip(z.unbind(1), f.unbind(1), strict=True):
        cell = step(cell, z_t, f_t, w_z, w_f)
        cells.append(cell)
    return Scan(torch.stack(cells, dim=1) if cells else torch.zeros_like(z), cell)


def compiled(*arguments: Tensor) -> Scan:
    """The kernel of `fwplab.ops.cpu`, forward and analytic backward in compiled code."""
    return Scan(*cpu.elementwise(*arguments))


FORMS: Forms = {"reference": reference, "cpu": compiled}
