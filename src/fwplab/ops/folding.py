"""Populations as heads: the vmap rules of the operators merge the mapped members of an argument with its heads."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

Mapped = tuple[tuple[Tensor, ...], tuple[int | None, ...]]
"""The result of a vmap rule: the results, and for each the axis of the members."""


@overload
def fold(tensor: Tensor, member: int | None, head: int, members: int) -> Tensor: ...
@overload
def fold(tensor: None, member: int | None, head: int, members: int) -> None: ...
def fold(tensor: Tensor | None, member: int | None, head: int, members: int) -> Tensor | None:
    """Moves the axis `member` of a population's argument in front of the axis `head` and merges both.

    An argument that is not mapped is shared by all members. None stays None.
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
    """The inverse for results: splits the members from the heads. The axis of the members is then that of the heads.

    heads: the axis of the heads of each result; None for a result without heads, which is not mapped.
    """
    parts = (
        tensor if head is None else tensor.unflatten(head, (members, tensor.shape[head] // members))
        for tensor, head in zip(tensors, heads, strict=True)
    )
    return tuple(parts), heads


def one_by_one(
    function: Callable[..., tuple[Tensor, ...]], dims: tuple[int | None, ...], arguments: tuple[Any, ...], members: int
) -> Mapped:
    """Calls the function for one member after the other, for arguments that must not be folded.

    An example is a tape that is not mapped: its layout depends on the number of heads of the pass that wrote it.
    """
    results = []
    for member in range(members):
        pairs = zip(arguments, dims, strict=True)
        results.append(function(*(each if dim is None else each.select(dim, member) for each, dim in pairs)))
    stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)
