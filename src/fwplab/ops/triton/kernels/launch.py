"""What the rules' operators share on the host: types, checks, the layout of saved states, the launch."""

from typing import Any

import torch
from torch import Tensor

from fwplab.errors import UserError

INPUT_TYPES = (torch.float32, torch.bfloat16, torch.float64)


def compute_type(tensor: Tensor) -> torch.dtype:
    """The type of the state and of all sums: float32, or float64 for float64 inputs."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def computed(like: Tensor, *tensors: Tensor) -> list[Tensor]:
    """States and slow weights in the type that the rule computes with."""
    return [tensor.to(compute_type(like)) for tensor in tensors]


def check(rule: str, like: Tensor, **expected: tuple[Tensor, tuple[int, ...]]) -> None:
    """The kernels read memory by these shapes: whatever differs in shape, kind of type or device is a `UserError`."""
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
    """A state has to fit the registers of one program."""
    if max(widths) > 128:
        raise UserError(f"{rule}: backend 'triton' takes heads of width 1 to 128, not {max(widths)}")


def check_tape(present: bool) -> None:
    """A backward pass without its tape is a forward pass called with `keep=False` for tensors that need gradients."""
    if not present:
        raise RuntimeError("the forward pass did not keep what the backward pass reads")


def strides(tensor: Tensor) -> tuple[int, int, int]:
    """Of batch, time and heads."""
    return tensor.stride(0), tensor.stride(1), tensor.stride(2)


def block(width: int, least: int = 16) -> int:
    """The power of two that holds a width, at least the tile of a matrix product."""
    return max(least, 1 << max(width - 1, 0).bit_length())


def tiling(width: int, width_of_value: int, widest: int) -> dict[str, Any]:
    """How the chunkwise kernels cut W: all keys, and the values in slices of at most `widest`, one program each."""
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
    """How many sequences `[batch, time, ...]` holds."""
    return like.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1


def saved_rows(like: Tensor, cu_seqlens: Tensor | None, segment: int) -> int:
    """Rows of states saved every `segment` positions of `[batch, time, ...]`.

    Sequence n, which starts at position p of all, has its own from row `p // segment + n` on. It needs at most
    `length // segment + 1` of them, so that neighbours never meet, whatever the lengths.
    """
    batch, time = like.shape[:2]
    return batch * time // segment + sequences(like, cu_seqlens)


def bounds(cu_seqlens: Tensor | None, device: torch.device) -> Tensor | None:
    """`cu_seqlens` as the kernels read it."""
    return None if cu_seqlens is None else cu_seqlens.to(device).contiguous()


def launch(kernel: Any, programs: int, like: Tensor, *arguments: Any, **options: Any) -> None:
    """Start `programs` programs of a kernel on the device of `like`; none if there is no work."""
    if programs == 0:
        return
    if like.device.type == "cuda":
        with torch.cuda.device(like.device):
            kernel[(programs,)](*arguments, **options)
    else:
        kernel[(programs,)](*arguments, **options)
