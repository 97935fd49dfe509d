"""Calls into the compiled library: the structures of `problem.h`, where a tensor lies, and the choice of loop order."""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops.cpu import library


class Problem(ctypes.Structure):
    """`struct Problem` of problem.h."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("batch", "length", "heads", "width", "is_double", "lanes", "teams", "segment", "threads")
    )


class Strided(ctypes.Structure):
    """`struct Strided` of order.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("row", ctypes.c_int64),
        ("head", ctypes.c_int64),
    )


def sequence(tensor: Tensor) -> Strided:
    """`[batch, time, heads, ...]`."""
    return Strided(tensor.data_ptr(), tensor.stride(0), tensor.stride(1), tensor.stride(2))


def state(tensor: Tensor) -> Strided:
    """`[batch, heads, rows, columns]`, or `[batch, heads, d]`, which has one row."""
    return Strided(tensor.data_ptr(), tensor.stride(0), tensor.stride(2) if tensor.dim() == 4 else 0, tensor.stride(1))


def weight(tensor: Tensor) -> Strided:
    """`[heads, rows, columns]`, or `[heads, d]`: shared by the batch."""
    return Strided(tensor.data_ptr(), 0, tensor.stride(1) if tensor.dim() == 3 else 0, tensor.stride(0))


def check(rule: str, like: Tensor, **expected: tuple[Tensor, tuple[int, ...]]) -> None:
    """The library reads memory by these shapes: whatever differs in shape, dtype or device is a `UserError`."""
    if like.dtype not in (torch.float32, torch.float64):
        raise UserError(f"{rule}: dtype {like.dtype} is not supported on the CPU; choose from: float32, float64")
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape or tensor.dtype != like.dtype or tensor.device != like.device:
            raise UserError(
                f"{rule}: {name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}, "
                f"not {like.dtype} {list(shape)} on {like.device}"
            )


def check_tape(tape: Tensor, size: tuple[int, int]) -> None:
    """A backward pass without its tape is a forward pass called with `keep=False` for tensors that need gradients."""
    if tuple(tape.shape) != size:
        raise RuntimeError(f"the tape is {list(tape.shape)}, not {list(size)}: the forward pass did not keep it")


def needs_tape(*arguments: Tensor) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(argument.requires_grad for argument in arguments)


def with_rows(tensor: Tensor) -> Tensor:
    """The tensor, copied only if its last dimension is not contiguous."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


class Plan(NamedTuple):
    """How a recurrence is cut: registers of `lanes` numbers; `teams` 0 for lanes order, else rows order; a state saved
    every `segment` steps; groups of sequences in a head; and how many numbers a vector needs for `d` of them."""

    lanes: int
    teams: int
    segment: int
    groups: int

    def vectors(self, n: int) -> int:
        """Vectors for a quantity of `n` numbers."""
        return n if self.teams == 0 else -(-n // self.lanes)

    def problem(self, tensor: Tensor) -> Problem:
        """The description for the library; `tensor` is `[batch, time, heads, d]`."""
        batch, length, heads, width = tensor.shape
        is_double = int(tensor.dtype == torch.float64)
        threads = torch.get_num_threads()
        return Problem(batch, length, heads, width, is_double, self.lanes, self.teams, self.segment, threads)

    def tape_bytes(self, tensor: Tensor, matrix: int, slot: int) -> int:
        """Bytes of a head's tape: for every group a matrix each segment and a slot each step, both in vectors."""
        length = tensor.shape[1]
        vectors = max(self.teams, 1) * (-(-length // self.segment) * matrix + length * slot)
        return self.groups * vectors * self.lanes * tensor.element_size()

    def tape(self, tape: Tensor) -> tuple[int | None, int]:
        """Where the tape `[heads, bytes]` lies and the size of a group's part; nowhere if it is empty."""
        size = tape.shape[1]
        return (tape.data_ptr(), size // self.groups) if size else (None, 0)


def plan(tensor: Tensor, widest_lanes: int) -> Plan:
    """Lanes order for heads of at most `widest_lanes` and batches that fill half a register or more, else rows order.

    The choice depends on the shape alone, so the number of threads cannot change a bit of the result.
    """
    batch, length, _, width = tensor.shape
    lanes = registers() // tensor.element_size()
    teams = 0 if width <= widest_lanes and 2 * batch > lanes else 4 if batch > 2 else 1
    return Plan(lanes, teams, segment_length(length), -(-batch // (teams or lanes)))


def segment_length(length: int) -> int:
    """Steps between two saved states: a short segment stays in the cache, a long one saves memory in long sequences."""
    return 8 if length <= 512 else 16 if length <= 4096 else 32


def registers() -> int:
    """Bytes in one register of the library in use."""
    loaded = library.load()
    if isinstance(loaded, library.Missing):
        raise UserError(f"the compiled CPU kernels cannot run: {loaded.why}; choose from: auto, reference")
    return loaded.register_bytes


def call(name: str, problem: Problem, arguments: list[Strided], *rest: int | None) -> None:
    """One kernel; `rest` are addresses and sizes. Raises `MemoryError`, or `RuntimeError` for what the build lacks."""
    loaded = library.load()
    if isinstance(loaded, library.Missing):
        raise RuntimeError(loaded.why)
    function: Callable[..., int] = getattr(loaded.functions, f"fwplab_{name}")
    packed = (Strided * len(arguments))(*arguments)
    extra = (None if value is None else ctypes.c_void_p(value) for value in rest)
    status = function(ctypes.byref(problem), packed, *extra)
    if status == 1:
        raise MemoryError(f"fwplab::{name}: not enough memory")
    if status:
        raise RuntimeError(f"fwplab::{name}: the compiled library has no code for this problem")


def fold(tensor: Tensor, member: int | None, head: int, members: int) -> Tensor:
    """A population's argument as one of more heads: the mapped dimension `member` moves in front of `head`, both merge.

    An argument that is not mapped is shared by all members.
    """
    if member is None:
        tensor = tensor.unsqueeze(head).expand(*tensor.shape[:head], members, *tensor.shape[head:])
    else:
        tensor = tensor.movedim(member, head)
    return tensor.flatten(head, head + 1)


def unfold(
    tensors: tuple[Tensor, ...], heads: tuple[int, ...], members: int
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """The inverse for results, as a vmap rule returns them: the mapped dimensions come back where the heads are."""
    parts = (
        tensor.unflatten(head, (members, tensor.shape[head] // members))
        for tensor, head in zip(tensors, heads, strict=True)
    )
    return tuple(parts), heads
