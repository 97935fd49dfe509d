"""What a mixer shows of itself while it reads: the updates of its fast weights, or where it attends."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Writes:
    """What each position does to the fast weights of every head: `W_t = W_{t-1} + wrote - erased`.

    Row vectors: `wrote = (rate k)^T v` and `erased = (rate k)^T (k W_{t-1})`, each of rank one a block. An additive
    rule erases nothing, and SRWM writes what it finds under its query, `v = q W_{t-1}`. `blocks` names the parts that
    lie side by side in the columns, with their widths. `updates` names what has a rate of its own: the blocks, or the
    steps of a product of updates, each with its key, whose sum is written and erased. `kept` is the eigenvalue of the
    update along its key, `1 - rate |k|^2` (1 for an additive rule, `1 + rate (q - k) . k` for SRWM); all others are 1.
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
    """How much each position attends to each before it, the past's first, and itself; the rows sum to 1."""

    rows: Float[Tensor, "heads time past_and_time"]


View = Writes | Attention


def writes(query: Tensor, key: Tensor, rate: Tensor, value: Tensor, weight: Tensor, *, erases: bool) -> Writes:
    """The view of a rule `W += rate k^T (v - k W)`, or of one that adds without erasing."""
    return products(query, key.unsqueeze(-2), rate, value.unsqueeze(-2), weight, erases=erases)


def products(query: Tensor, key: Tensor, rate: Tensor, value: Tensor, weight: Tensor, *, erases: bool) -> Writes:
    """The view of several such updates a position, one after the other; `key` and `value` `[time, heads, steps, d]`."""
    wrote = erased = torch.zeros_like(weight)
    steps = key.shape[-2]
    for row, in_row, of_row in zip(key.unbind(-2), value.unbind(-2), rate.unbind(-1), strict=True):
        held = (row.unsqueeze(-2) @ (weight + wrote - erased)).squeeze(-2)
        rated = of_row.unsqueeze(-1) * row
        wrote = wrote + _outer(rated, in_row)
        erased = erased + _outer(rated, held) if erases else erased
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
    """The view of a rule whose blocks rewrite themselves: `W_j += rate_j k^T (q W_j + fed_j - k W_j)`, the `rewritten`.

    `fed` is what feedback adds to what is written into a block, `[time, heads, width of the block]`.
    """
    sizes = tuple((name, block.shape[-1]) for name, block in blocks.items())
    acts = torch.tensor([float(name in rewritten) for name in blocks], dtype=rates.dtype, device=rates.device)
    rates = rates * acts
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
