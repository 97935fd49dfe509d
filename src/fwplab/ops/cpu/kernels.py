"""Calls the compiled library: the structures of `problem.h`, pointers and strides, and the choice of loop order."""

import ctypes
import enum
import math
from array import array
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops.cpu import library
from fwplab.ops.cpu.threads import threads
from fwplab.ops.packing import check_bounds

REBUILT = 16
"""Steps between two saved states. The backward pass computes the states in between again, and they fit the cache."""
TRANSPOSED = 32
"""The same in held order, whose backward pass carries transposes. A large number saves slow memory for the tape. A
small number limits rounding errors, because the transposes start again at each saved state."""


class Order(enum.IntEnum):
    """The content of a register: the same entry of W of many heads, some entries of one W, or (held) a row of one W."""

    LANES = 0
    ROWS = 1
    HELD = 2


class Problem(ctypes.Structure):
    """`struct Problem` of problem.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "length", "heads", "width", "is_double")),
        *((name, ctypes.c_int64) for name in ("order", "lanes", "together", "teams", "segment", "threads")),
        ("variation", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("longest_first", "starts", "lengths")),
    )
    packing: "Packing | None" = None
    """A reference that keeps the memory behind the pointers alive."""


class Place(NamedTuple):
    """`struct Strided` of problem.h: the address of a tensor, 0 for none, and its strides in elements.

    `tensor` is a reference that keeps the memory behind `data` alive.
    """

    data: int
    batch: int
    row: int
    head: int
    tensor: Tensor | None


NOWHERE = Place(0, 0, 0, 0, None)


def strided(tensor: Tensor, batch: int, row: int, head: int) -> Place:
    """Describes a tensor. batch, row, head: the strides, in elements."""
    data = tensor.data_ptr()
    if not data and tensor.numel():  # a lazy tensor of zeros has no memory yet
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        tensor = torch.zeros(1 + sum((size - 1) * stride for size, stride in sizes), dtype=tensor.dtype)
        data = tensor.data_ptr()
    return Place(data, batch, row, head, tensor)


def sequence(tensor: Tensor | None) -> Place:
    """Describes a tensor `[batch, time, heads, ...]`; a null pointer for None."""
    if tensor is None:
        return NOWHERE
    batch, row, head, *_ = tensor.stride()
    return strided(tensor, batch, row, head)


def state(tensor: Tensor) -> Place:
    """Describes a tensor `[batch, heads, rows, columns]`, or `[batch, heads, d]` as a matrix of one row."""
    batch, head, *rest = tensor.stride()
    return strided(tensor, batch, rest[0] if len(rest) == 2 else 0, head)


def weight(tensor: Tensor) -> Place:
    """Describes a tensor `[heads, rows, columns]` or `[heads, d]` that the batch shares."""
    return strided(tensor, 0, tensor.stride(1) if tensor.dim() == 3 else 0, tensor.stride(0))


def check(rule: str, like: Tensor, **expected: tuple[Tensor | None, tuple[int, ...]]) -> None:
    """Raises `UserError` for a wrong shape, data type or device. The library does not check them.

    like: the tensor with the right data type and device.
    expected: each argument (None if it is missing) and its shape.
    """
    if like.dtype not in (torch.float32, torch.float64):
        raise UserError(f"{rule}: dtype {like.dtype} is not supported on the CPU; choose from: float32, float64")
    if like.layout is not torch.strided or not like.is_cpu:
        raise UserError(f"{rule}: the first input is {like.layout} on {like.device}; the kernels take strided on cpu")
    dtype, dense = like.dtype, torch.strided
    for name, (tensor, shape) in expected.items():
        if tensor is None:
            continue
        if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_cpu or tensor.layout is not dense:
            raise UserError(
                f"{rule}: {name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}, "
                f"not {dtype} {list(shape)} on {like.device}"
            )


class Packing(NamedTuple):
    """A packed batch for the library: the indices of the sequences from long to short, their starts and lengths."""

    longest_first: Tensor
    starts: Tensor
    lengths: Tensor


def packing(cu_seqlens: Tensor, like: Tensor) -> Packing:
    """The sequences of a packed batch. It checks the bounds, because the library does not.

    cu_seqlens: the bounds, `[sequences + 1]`.
    like: an argument `[batch, time, ...]`.
    """
    check_bounds("fwplab", cu_seqlens, *like.shape[:2])
    bounds = cu_seqlens.to("cpu", torch.int64)
    lengths = bounds.diff()
    return Packing(lengths.argsort(descending=True, stable=True), bounds[:-1].contiguous(), lengths)


class Plan(NamedTuple):
    """How the work is divided.

    - `order`: the loop order.
    - `lanes`: how many numbers a register has.
    - `together`: how many adjacent heads share a register.
    - `teams`: how many sequences are interleaved.
    - `segment`: the number of steps between two saved states.
    - `groups`: for each group of sequences that share registers, the length of the longest.
    - `packing`: the sequences of a packed batch; None if not packed.
    """

    order: Order
    lanes: int
    together: int
    teams: int
    segment: int
    groups: tuple[int, ...]
    packing: Packing | None

    def sequences(self, batch: int) -> int:
        """The number of sequences: the batch size, or the number of packed sequences."""
        return batch if self.packing is None else self.packing.lengths.numel()

    def vectors(self, n: int) -> int:
        """The number of vectors for n numbers."""
        return n if self.order == Order.LANES else -(-n // self.lanes)

    def problem(self, tensor: Tensor, variation: int = 0) -> Problem:
        """The description for the library. tensor: an argument `[batch, time, heads, d]`. variation: its code."""
        batch, length, heads, width = tensor.shape
        is_double = int(tensor.dtype == torch.float64)
        rest = self.order, self.lanes, self.together, self.teams, self.segment, threads(), variation
        if self.packing is None:
            return Problem(batch, length, heads, width, is_double, *rest)
        batch, length = self.sequences(batch), max(self.groups, default=0)
        packed = Problem(batch, length, heads, width, is_double, *rest, *(t.data_ptr() for t in self.packing))
        packed.packing = self.packing
        return packed

    def tape(self, like: Tensor, matrix: int, slot: int) -> Tensor:
        """Allocates the tape for the backward pass, `[heads, bytes]`.

        like: a tensor with the device, the data type and the number of heads.
        matrix: the number of vectors saved for each segment of a group.
        slot: the number of vectors saved for each step of a group.
        """
        segments = sum(-(-length // self.segment) for length in self.groups)
        vectors = self.teams * (segments * matrix + sum(self.groups) * slot)
        size = vectors * self.lanes * like.element_size() // self.together
        return like.new_empty(like.shape[2], size, dtype=torch.uint8)


HELD_WIDTHS = (4, 8, 16)
"""The widths of heads for which the library has the held order, if a row fits into a register."""


def plan(
    tensor: Tensor,
    widest_lanes: int,
    cu_seqlens: Tensor | None,
    *,
    interleaved: int = 2,
    holds: bool = False,
    varied: bool = False,
) -> Plan:
    """Chooses the loop order: held if possible, else lanes for narrow heads, else rows.

    tensor: the first argument, `[batch, time, heads, d]`.
    widest_lanes: the widest heads for lanes order. It also needs a batch that fills at least half a register. Adjacent
        heads share a register, because their numbers are adjacent in memory.
    interleaved: how many sequences rows order interleaves; the constant of the same name in the rule's C++ class.
    holds: whether the rule has held order, for heads of a width in `HELD_WIDTHS`.
    varied: whether the rule is a variation, which has only lanes order.

    The choice depends only on the shape, so that the bits of the result do not depend on the number of threads.
    """
    batch, length, heads, width = tensor.shape
    packed = None if cu_seqlens is None else packing(cu_seqlens, tensor)
    if packed is not None:
        batch = packed.lengths.numel()
    lanes = registers() // tensor.element_size()
    adjacent = math.gcd(heads, lanes)
    if holds and width in HELD_WIDTHS and width <= lanes:
        order, together, teams = Order.HELD, 1, 1
    elif varied or (width <= widest_lanes and 2 * batch * adjacent > lanes):
        order, together, teams = Order.LANES, adjacent, 1
    else:
        order, together, teams = Order.ROWS, 1, interleaved if 2 * batch > interleaved else 1
    sequences = lanes // together if order == Order.LANES else teams
    groups = (length,) * -(-batch // sequences)
    if packed is not None:
        groups = tuple(packed.lengths[packed.longest_first][::sequences].tolist())
    segment = TRANSPOSED if order == Order.HELD else REBUILT
    return Plan(order, lanes, together, teams, segment, groups, packed)


def address(tape: Tensor) -> tuple[int | None, int]:
    """The address of a tape `[heads, bytes]`, and its number of bytes for each head; None if it is empty."""
    return (tape.data_ptr(), tape.shape[1]) if tape.numel() else (None, 0)


def require_tape(tape: Tensor, grad_output: Tensor) -> Tensor:
    """The tape for a backward pass. Raises `RuntimeError` if the forward pass was called with `keep=False`."""
    if grad_output.numel() and not tape.numel():
        raise RuntimeError("the forward pass did not save the tape that the backward pass needs")
    return tape.contiguous()


SCALES = 2
"""The additional vectors that a variation saves for each step: the scales of variation.h."""


def unknown_tape(like: Tensor, keep: bool, allocate: Callable[[], Tensor], cu_seqlens: Tensor | None) -> Tensor:
    """A tape without values, for tracing. For a packed batch its size is dynamic, because it depends on the lengths."""
    if not keep:
        return like.new_empty(like.shape[2], 0, dtype=torch.uint8)
    if cu_seqlens is None:
        return allocate()
    return like.new_empty(like.shape[2], torch.library.get_ctx().new_dynamic_size(), dtype=torch.uint8)


def registers() -> int:
    """The number of bytes in a register of the loaded library."""
    loaded = library.load()
    if isinstance(loaded, library.Missing):
        raise UserError(f"the compiled CPU kernels cannot run: {loaded.why}; choose from: auto, reference")
    return loaded.register_bytes


def call(name: str, problem: Problem, arguments: list[Place], *rest: int | None) -> None:
    """Calls one kernel. Raises `MemoryError`, or `RuntimeError` if the library has no code for the problem.

    rest: addresses and sizes of further memory.
    """
    loaded = library.load()
    if isinstance(loaded, library.Missing):
        raise RuntimeError(loaded.why)
    function: Callable[..., int] = getattr(loaded.functions, f"fwplab_{name}")
    places = array("q", [number for place in arguments for number in place[:4]]).tobytes()
    extra = [None if value is None else ctypes.c_void_p(value) for value in rest]
    status = function(ctypes.byref(problem), places, *extra)
    if status == 1:
        raise MemoryError(f"fwplab::{name}: not enough memory")
    if status:
        raise RuntimeError(f"fwplab::{name}: the compiled library has no code for this problem")
