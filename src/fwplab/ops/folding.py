"""Populations as heads: how the operators' vmap rules fold the mapped members of an argument into its heads."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

Mapped = tuple[tuple[Tensor, ...], tuple[int | None, ...]]
"""What a vmap rule returns: results, and where each has the members."""


@overload
def fold(tensor: Tensor, member: int | None, head: int, members: int) -> Tensor: ...
@overload
def fold(tensor: None, member: int | None, head: int, members: int) -> None: ...
def fold(tensor: Tensor | None, member: int | None, head: int, members: int) -> Tensor | None:
    """A population's argument as one of more heads: the mapped dimension `member` moves in front of `head`, both merge.

    An argument that is not mapped is shared by all members; one that is not there (None) stays so.
    """
    if tensor is None:
        return None
    if member is None:
        tensor = tensor.unsqueeze(head).expand(*tensor.shape[:head], members, *tensor.shape[head:])
    else:
        tensor = tensor.movedim(member, head)
    return tensor.flatten(head, head + 1)


def unfold(
    tensors: tuple[Tensor, ...], heads: tuple[int | None, ...], members: int
) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
    """The inverse for results, as a vmap rule returns them: the mapped dimensions come back where the heads are.

    A result without heads (None) is not mapped.
    """
    parts = (
        tensor if head is None else tensor.unflatten(head, (members, tensor.shape[head] // members))
        for tensor, head in zip(tensors, heads, strict=True)
    )
    return tuple(parts), heads


def one_by_one(
    function: Callable[..., tuple[Tensor, ...]], dims: tuple[int | None, ...], arguments: tuple[Any, ...], members: int
) -> Mapped:
    """The function of one member after the other, for arguments that must not be folded.

    Such is a tape that is not mapped: how it lies depends on the number of heads of the pass that wrote it.
    """
    results = []
    for member in range(members):
        pairs = zip(arguments, dims, strict=True)
        results.append(function(*(each if dim is None else each.select(dim, member) for each, dim in pairs)))
    stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)
