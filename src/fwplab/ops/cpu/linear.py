"""The additive rule. It uses the compiled kernels of the delta rule, which are additive without `beta`."""

from torch import Tensor

from fwplab.ops.cpu.delta import delta


def linear(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, *, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`(query, key, value, W_0) -> (output, W_T)`, with the shapes of `fwplab.ops.cpu.delta.delta`."""
    return delta(query, key, value, None, None, weight, cu_seqlens=cu_seqlens)
