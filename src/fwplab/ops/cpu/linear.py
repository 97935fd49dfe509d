"""The additive rule by the compiled kernels of the delta rule, which without a write strength are its own."""

from torch import Tensor

from fwplab.ops.cpu.delta import delta


def linear(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, *, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`(query, key, value, W_0) -> (output, W_T)`, as `delta` without the write strength and without erasing."""
    return delta(query, key, value, None, None, weight, cu_seqlens=cu_seqlens)
