"""Functions on the host that the operators of all rules share: types, checks, layout of saved states, launch."""

from typing import Any

import torch
from torch import Tensor

from fwplab.errors import UserError

INPUT_TYPES = (torch.float32, torch.bfloat16, torch.float64)


def compute_type(tensor: Tensor) -> torch.dtype:
    """The data type of the state and of all sums: float32, or float64 for float64 inputs."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def computed(like: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Converts states and slow weights to `compute_type`."""
    return [tensor.to(compute_type(like)) for tensor in tensors]


def check(rule: str, like: Tensor, **expected: tuple[Tensor, tuple[int, ...]]) -> None:
    """Raises `UserError` for a wrong shape, data type or device, because the kernels rely on them.

    like: the first input, which the others must match.
    expected: the other arguments by name, each with its required shape.
    """
    names = ", ".join(str(dtype).removeprefix("torch.") for dtype in INPUT_TYPES)
    for name, (tensor, shape) in {"the first input": (like, tuple(like.shape)), **expected}.items():
        mixed = (tensor.dtype == torch.float64) != (like.dtype == torch.float64)
        if tensor.dtype not in INPUT_TYPES or mixed:
            raise UserError(
                f"{rule}: {name} is {tensor.dtype} beside {like.dtype}; choose from: {names} (float64 for all or none)"
            )
        if tensor.shape != shape or tensor.device != like.device:
            raise UserError(
                f"{rule}: {name} is {list(tensor.shape)} on {tensor.device}, not {list(shape)} on {like.device}"
            )


def check_width(rule: str, *widths: int) -> None:
    """Raises `UserError` for heads whose state does not fit the registers of one program."""
    if max(widths) > 128:
        raise UserError(f"{rule}: backend 'triton' takes heads of width 1 to 128, not {max(widths)}")


def check_tape(present: bool) -> None:
    """Raises `RuntimeError` without a tape: the forward pass was called with `keep=False`."""
    if not present:
        raise RuntimeError("the forward pass did not keep what the backward pass reads")


def strides(tensor: Tensor) -> tuple[int, int, int]:
    """The strides of batch, time and heads, in elements."""
    return tensor.stride(0), tensor.stride(1), tensor.stride(2)


def block(width: int, least: int = 16) -> int:
    """The smallest power of two that is at least `width` and at least `least`, the tile of a matrix product."""
    return max(least, 1 << max(width - 1, 0).bit_length())


def tiling(width: int, width_of_value: int, widest: int) -> dict[str, Any]:
    """How the chunkwise kernels split W: all rows (keys), and slices of at most `widest` columns, one program each."""
    key = block(width)
    value = min(block(width_of_value), widest)
    return {
        "KEY": width,
        "VALUE": width_of_value,
        "KEY_BLOCK": key,
        "VALUE_BLOCK": value,
        "SLICES": max(1, -(-width_of_value // value)),
        "num_warps": {16: 1, 32: 1, 64: 4, 128: 8}[key],
        "num_stages": 1,
    }


def sequences(like: Tensor, cu_seqlens: Tensor | None) -> int:
    """The number of sequences: the batch size, or the number of packed sequences."""
    return like.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1


def saved_rows(like: Tensor, cu_seqlens: Tensor | None, segment: int) -> int:
    """The number of rows for states that are saved every `segment` positions of `[batch, time, ...]`.

    Sequence n, which starts at position p of the batch, uses the rows from `p // segment + n` on. It needs at most
    `length // segment + 1` of them, so that the rows of two sequences never overlap.
    """
    batch, time = like.shape[:2]
    return batch * time // segment + sequences(like, cu_seqlens)


def bounds(cu_seqlens: Tensor | None, device: torch.device) -> Tensor | None:
    """`cu_seqlens` on the device and contiguous, as the kernels need it."""
    return None if cu_seqlens is None else cu_seqlens.to(device).contiguous()


def launch(kernel: Any, programs: int, like: Tensor, *arguments: Any, **options: Any) -> None:
    """Starts `programs` programs of a kernel on the device of `like`; does nothing for 0 programs."""
    if programs == 0:
        return
    if like.device.type == "cuda":
        with torch.cuda.device(like.device):
            kernel[(programs,)](*arguments, **options)
    else:
        kernel[(programs,)](*arguments, **options)
