"""Packed batches: sequences of unequal lengths one behind the other in a batch of 1."""

import itertools

import torch
from torch import Tensor

from fwplab.errors import UserError

WHOLE = frozenset({torch.int32, torch.int64})


def count_sequences(rule: str, tensor: Tensor, cu_seqlens: Tensor | None) -> int:
    """How many sequences `tensor` `[batch, time, ...]` holds: its batch, or what `cu_seqlens` says of a packed one.

    `cu_seqlens` `[sequences + 1]` are the positions where each packed sequence begins, and the end of the last; the
    batch is then 1. Raises `UserError` for what cannot be that; `check_bounds` looks at the values.
    """
    if cu_seqlens is None:
        return tensor.shape[0]
    if not isinstance(cu_seqlens, Tensor):
        kind = type(cu_seqlens).__name__
        raise UserError(f"{rule}: cu_seqlens must be a tensor of whole numbers [sequences + 1], not a {kind}")
    if cu_seqlens.dim() != 1 or cu_seqlens.dtype not in WHOLE or not len(cu_seqlens):
        check_bounds(rule, cu_seqlens, *tensor.shape[:2])
    return cu_seqlens.shape[0] - 1


def check_bounds(rule: str, cu_seqlens: Tensor, batch: int, time: int) -> None:
    """A `UserError` if the bounds do not fit a batch of so many sequences and so many positions."""
    bounds = cu_seqlens.tolist() if cu_seqlens.dim() == 1 and cu_seqlens.dtype in WHOLE else []
    rising = all(a <= b for a, b in itertools.pairwise(bounds))
    if batch != 1 or not bounds or not rising or bounds[0] != 0 or bounds[-1] != time:
        raise UserError(
            f"{rule}: cu_seqlens must be whole numbers [sequences + 1] that rise from 0 to the time of a batch of 1 "
            f"(here: batch {batch}, time {time})"
        )
