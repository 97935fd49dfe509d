"""Packed batches: sequences of different lengths, concatenated in a batch of 1."""

import itertools

import torch
from torch import Tensor

from fwplab.errors import UserError

WHOLE = frozenset({torch.int32, torch.int64})


def count_sequences(rule: str, tensor: Tensor, cu_seqlens: Tensor | None) -> int:
    """The number of sequences in a tensor `[batch, time, ...]`: its batch size, or the number of packed sequences.

    cu_seqlens: the start of each packed sequence and the end of the last, `[sequences + 1]`; None if not packed. With
        it the batch size must be 1.

    Raises `UserError` for a wrong shape or data type of `cu_seqlens`. `check_bounds` checks its values.
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
    """Raises `UserError` if the bounds of packed sequences do not fit a tensor `[batch, time, ...]`."""
    bounds = cu_seqlens.tolist() if cu_seqlens.dim() == 1 and cu_seqlens.dtype in WHOLE else []
    rising = all(a <= b for a, b in itertools.pairwise(bounds))
    if batch != 1 or not bounds or not rising or bounds[0] != 0 or bounds[-1] != time:
        raise UserError(
            f"{rule}: cu_seqlens must be whole numbers [sequences + 1] that rise from 0 to the time of a batch of 1 "
            f"(here: batch {batch}, time {time})"
        )
