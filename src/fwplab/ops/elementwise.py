"""The element-wise recurrence of the e-LSTM."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fwplab.ops.rule import Rule
from fwplab.ops.scan import Scan, scan_of


def elementwise(
    z: Float[Tensor, "batch time heads d"],
    f: Float[Tensor, "batch time heads d"],
    w_z: Float[Tensor, "heads d"],
    w_f: Float[Tensor, "heads d"],
    *,
    initial_state: Float[Tensor, "sequences heads d"] | None = None,
    cu_seqlens: Int[Tensor, "bounds"] | None = None,
    backend: str = "auto",
) -> Scan:
    """A gated cell whose recurrence is element by element.

    `zt = tanh(z + w_z c)`, `ft = sigmoid(f + w_f c)`, `c = ft c + (1 - ft) zt`; the outputs are all `c`.

    - `z`, `f`: `[batch, time, heads, d]`, projections of the input with their biases, before tanh and sigmoid.
    - `w_z`, `w_f`: `[heads, d]`, the recurrent weights.
    - `initial_state`: `c_0`, `[sequences, heads, d]`; zero if it is None.
    - `cu_seqlens`: `[sequences + 1]`, integers. The start of each packed sequence and the end of the last; the batch is
      then 1. Without it every row of the batch is a sequence.
    - `backend`: "auto" for the fastest that can run, or "cpu" (compiled), "loop", "triton" (GPU), "reference".

    Returns `Scan(output, state)`. Raises `UserError` for an unknown backend, for one that cannot run, and for shapes or
    bounds that do not fit.
    Source: arXiv 2310.16076, appendix; the cell is that of arXiv 2305.19044.
    """
    state = None if initial_state is None else (initial_state,)
    return RULE.run(backend, (z, f), (w_z, w_f), state=state, cu_seqlens=cu_seqlens)


def step(cell: Tensor, z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor) -> Tensor:
    """One position, all `[batch, heads, d]`; returns the new cell."""
    forget = torch.sigmoid(f + w_f * cell)
    return forget * cell + (1 - forget) * torch.tanh(z + w_z * cell)


def reference(z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor) -> Scan:
    """The definition: a loop over the positions."""
    cells, start = [], cell
    for z_t, f_t in zip(z.unbind(1), f.unbind(1), strict=True):
        cell = step(cell, z_t, f_t, w_z, w_f)
        cells.append(cell)
    return scan_of(cells, z, start, cell)


def loop(z: Tensor, f: Tensor, w_z: Tensor, w_f: Tensor, cell: Tensor) -> Scan:
    """The fastest PyTorch loop: it unbinds the inputs once, and uses one operation for each gate and for the blend."""
    cells, start = [], cell
    for z_t, f_t in zip(z.unbind(1), f.unbind(1), strict=True):
        forget = torch.sigmoid(torch.addcmul(f_t, w_f, cell))
        cell = torch.lerp(torch.tanh(torch.addcmul(z_t, w_z, cell)), cell, forget)
        cells.append(cell)
    return scan_of(cells, z, start, cell)


RULE = Rule(
    "elementwise",
    reference,
    forms={"loop": loop},
    sequences={"z": "batch time heads d", "f": "batch time heads d"},
    slow={"w_z": "heads d", "w_f": "heads d"},
    state={"initial_state": "sequences heads d"},
)
