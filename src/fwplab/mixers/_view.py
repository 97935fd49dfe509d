"""Internal quantities of a mixer at every position: the updates of its fast weights, or its attention weights."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Writes:
    """The update of the fast weights of every head at every position: `W_t = W_{t-1} + wrote - erased`.

    With row vectors, `wrote = (rate k)^T v` and `erased = (rate k)^T (k W_{t-1})`. Both have rank one in each block. An
    additive rule erases nothing. SRWM writes the value of its query, `v = q W_{t-1}`.

    - `blocks`: the names and widths of the column blocks of W, from left to right.
    - `updates`: the names of the updates that have their own rate: the blocks, or the steps of a product of updates.
      Each step has its own key. `wrote` and `erased` are then sums over the steps.
    - `query`, `key`, `rate`: those of the update.
    - `kept`: the eigenvalue of the update along its key, `1 - rate |k|^2`. It is 1 for an additive rule and
      `1 + rate (q - k) . k` for SRWM. All other eigenvalues are 1.
    - `wrote`, `erased`: the matrices that are added and subtracted.
    """

    blocks: tuple[tuple[str, int], ...]
    updates: tuple[str, ...]
    query: Float[Tensor, "time heads d"]
    key: Float[Tensor, "time heads keys d"]
    rate: Float[Tensor, "time heads updates"]
    kept: Float[Tensor, "time heads updates"]
    wrote: Float[Tensor, "time heads d columns"]
    erased: Float[Tensor, "time heads d columns"]


@dataclass(frozen=True)
class Attention:
    """The attention weights of each position over all earlier positions and itself. The rows sum to 1."""

    rows: Float[Tensor, "heads time past_and_time"]


View = Writes | Attention


def writes(query: Tensor, key: Tensor, rate: Tensor, value: Tensor, weight: Tensor, *, erases: bool) -> Writes:
    """The view of the rule `W += rate k^T (v - k W)`, or of `W += rate k^T v` if `erases` is false."""
    return products(query, key.unsqueeze(-2), rate, value.unsqueeze(-2), weight, erases=erases)


def products(query: Tensor, key: Tensor, rate: Tensor, value: Tensor, weight: Tensor, *, erases: bool) -> Writes:
    """The view of several such updates per position, in sequence. `key`, `value`: `[time, heads, steps, d]`."""
    wrote = erased = torch.zeros_like(weight)
    steps = key.shape[-2]
    for k, v, beta in zip(key.unbind(-2), value.unbind(-2), rate.unbind(-1), strict=True):
        old_value = (k.unsqueeze(-2) @ (weight + wrote - erased)).squeeze(-2)
        scaled_key = beta.unsqueeze(-1) * k
        wrote = wrote + _outer(scaled_key, v)
        erased = erased + _outer(scaled_key, old_value) if erases else erased
    kept = 1 - rate * (key**2).sum(-1) if erases else torch.ones_like(rate)
    names = tuple(f"step {step + 1}" for step in range(steps)) if steps > 1 else ("W",)
    return Writes((("W", value.shape[-1]),), names, query, key, rate, kept, wrote, erased)


def rewrites(
    blocks: dict[str, Tensor],
    query: Tensor,
    key: Tensor,
    rates: Tensor,
    *,
    rewritten: tuple[str, ...],
    erases: bool,
    fed: dict[str, Tensor],
) -> Writes:
    """The view of a self-referential rule, `W_j += rate_j k^T (q W_j + fed_j - k W_j)` for the `rewritten` blocks j.

    `fed`: the feedback that is added to the written value of a block, `[time, heads, width of the block]`.
    """
    sizes = tuple((name, block.shape[-1]) for name, block in blocks.items())
    active = torch.tensor([float(name in rewritten) for name in blocks], dtype=rates.dtype, device=rates.device)
    rates = rates * active
    by_column = rates.repeat_interleave(torch.tensor([width for _, width in sizes], device=rates.device), dim=-1)
    weight = torch.cat(list(blocks.values()), dim=-1)
    found, held = ((each.unsqueeze(-2) @ weight).squeeze(-2) for each in (query, key))
    found = found + torch.cat([fed.get(name, torch.zeros_like(block[..., 0, :])) for name, block in blocks.items()], -1)
    if not erases:
        held = torch.zeros_like(held)
    kept = 1 + rates * ((query - key if erases else query) * key).sum(-1, keepdim=True)
    wrote, erased = _outer(key, by_column * found), _outer(key, by_column * held)
    return Writes(sizes, tuple(blocks), query, key.unsqueeze(-2), rates, kept, wrote, erased)


def _outer(key: Tensor, row: Tensor) -> Tensor:
    return key.unsqueeze(-1) * row.unsqueeze(-2)
