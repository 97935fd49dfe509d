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
    lie side by side in the columns, with their widths. `kept` is the eigenvalue of the update along its key,
    `1 - rate |k|^2` (1 for an additive rule, `1 + rate (q - k) . k` for SRWM); all others are 1.
    """

    blocks: tuple[tuple[str, int], ...]
    query: Float[Tensor, "time heads d"]
    key: Float[Tensor, "time heads d"]
    rate: Float[Tensor, "time heads blocks"]
    kept: Float[Tensor, "time heads blocks"]
    wrote: Float[Tensor, "time heads d columns"]
    erased: Float[Tensor, "time heads d columns"]


@dataclass(frozen=True)
class Attention:
    """How much each position attends to each before it and itself; the rows sum to 1."""

    rows: Float[Tensor, "heads time time"]


View = Writes | Attention


def writes(query: Tensor, key: Tensor, rate: Tensor, value: Tensor, weight: Tensor, *, erases: bool) -> Writes:
    """The view of a rule `W += rate k^T (v - k W)`, or of one that adds without erasing."""
    row = key.unsqueeze(-2)
    held = (row @ weight).squeeze(-2) if erases else torch.zeros_like(value)
    kept = 1 - rate * (key**2).sum(-1, keepdim=True) if erases else torch.ones_like(rate)
    sizes = (("W", value.shape[-1]),)
    return Writes(sizes, query, key, rate, kept, _outer(key, rate * value), _outer(key, rate * held))


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
    return Writes(sizes, query, key, rates, kept, _outer(key, by_column * found), _outer(key, by_column * held))


def _outer(key: Tensor, row: Tensor) -> Tensor:
    return key.unsqueeze(-1) * row.unsqueeze(-2)
