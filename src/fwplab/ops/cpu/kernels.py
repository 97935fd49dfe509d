"""Calls into the compiled library: the structures of `problem.h`, where a tensor lies, and the choice of loop order."""

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
"""Steps between two saved states: the backward pass makes those between them again and holds them in its cache."""
TRANSPOSED = 32
"""The same in held order, where it carries transposes: many, for the tape is slow memory, but few enough that rounding
takes little."""


class Order(enum.IntEnum):
    """How W lies in registers: the same entry of many sequences, some entries of one sequence, or a whole W at once."""

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
    """Keeps alive what the pointers point to."""


class Place(NamedTuple):
    """`struct Strided` of problem.h: the address of a tensor, 0 for none, and its strides in elements.

    `tensor` keeps alive what `data` points to.
    """

    data: int
    batch: int
    row: int
    head: int
    tensor: Tensor | None


NOWHERE = Place(0, 0, 0, 0, None)


def strided(tensor: Tensor, batch: int, row: int, head: int) -> Place:
    """A tensor with its strides in elements."""
    data = tensor.data_ptr()
    if not data and tensor.numel():  # zeros that PyTorch has not written anywhere
        sizes = zip(tensor.shape, tensor.stride(), strict=True)
        tensor = torch.zeros(1 + sum((size - 1) * stride for size, stride in sizes), dtype=tensor.dtype)
        data = tensor.data_ptr()
    return Place(data, batch, row, head, tensor)


def sequence(tensor: Tensor | None) -> Place:
    """`[batch, time, heads, ...]`; nowhere, if the rule has no such argument."""
    if tensor is None:
        return NOWHERE
    batch, row, head, *_ = tensor.stride()
    return strided(tensor, batch, row, head)


def state(tensor: Tensor) -> Place:
    """`[batch, heads, rows, columns]`, or `[batch, heads, d]`, which has one row."""
    batch, head, *rest = tensor.stride()
    return strided(tensor, batch, rest[0] if len(rest) == 2 else 0, head)


def weight(tensor: Tensor) -> Place:
    """`[heads, rows, columns]`, or `[heads, d]`: shared by the batch."""
    return strided(tensor, 0, tensor.stride(1) if tensor.dim() == 3 else 0, tensor.stride(0))


def check(rule: str, like: Tensor, **expected: tuple[Tensor | None, tuple[int, ...]]) -> None:
    """The library reads memory by these shapes: whatever differs in shape, dtype or device is a `UserError`.

    An argument that is None is not there.
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
    """A packed batch for the library: sequences from the longest to the shortest, where each starts and its length."""

    longest_first: Tensor
    starts: Tensor
    lengths: Tensor


def packing(cu_seqlens: Tensor, like: Tensor) -> Packing:
    """The sequences between the bounds `[sequences + 1]` of `like` `[batch, time, ...]`; the library trusts them."""
    check_bounds("fwplab", cu_seqlens, *like.shape[:2])
    bounds = cu_seqlens.to("cpu", torch.int64)
    lengths = bounds.diff()
    return Packing(lengths.argsort(descending=True, stable=True), bounds[:-1].contiguous(), lengths)


class Plan(NamedTuple):
    """How a recurrence is cut: the loop order; registers of `lanes` numbers; `together` adjacent heads in a register;
    `teams` sequences interleaved; a state saved every `segment` steps; and for each group of sequences that share
    registers the length of its longest."""

    order: Order
    lanes: int
    together: int
    teams: int
    segment: int
    groups: tuple[int, ...]
    packing: Packing | None

    def sequences(self, batch: int) -> int:
        """How many sequences there are: the batch, or what is packed."""
        return batch if self.packing is None else self.packing.lengths.numel()

    def vectors(self, n: int) -> int:
        """Vectors for a quantity of `n` numbers."""
        return n if self.order == Order.LANES else -(-n // self.lanes)

    def problem(self, tensor: Tensor, variation: int = 0) -> Problem:
        """The description for the library; `tensor` is `[batch, time, heads, d]`, `variation` that of the rule."""
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
        """Room `[heads, bytes]` for what the backward pass needs: for each group a matrix before each segment and a
        slot for each step, both in vectors, which `together` heads share."""
        segments = sum(-(-length // self.segment) for length in self.groups)
        vectors = self.teams * (segments * matrix + sum(self.groups) * slot)
        size = vectors * self.lanes * like.element_size() // self.together
        return like.new_empty(like.shape[2], size, dtype=torch.uint8)


HELD_WIDTHS = (4, 8, 16)
"""Heads for which the library has the held order, where such a row fits a register."""


def plan(
    tensor: Tensor,
    widest_lanes: int,
    cu_seqlens: Tensor | None,
    *,
    interleaved: int = 2,
    holds: bool = False,
    varied: bool = False,
) -> Plan:
    """Held order where the rule `holds` a whole W in registers and the head is narrow enough. Else lanes order for
    heads of at most `widest_lanes` where the batch fills half a register or more, with as many adjacent heads in it as
    divide theirs evenly: their numbers lie side by side in memory. Rows order for the others, `interleaved` sequences
    at a time (the rule's own number in C++). A `varied` rule has lanes order alone.

    The choice depends on the shape alone, so the number of threads cannot change a bit of the result.
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
    """Where a tape `[heads, bytes]` lies and the bytes of a head; nowhere if it is empty."""
    return (tape.data_ptr(), tape.shape[1]) if tape.numel() else (None, 0)


def require_tape(tape: Tensor, grad_output: Tensor) -> Tensor:
    """The tape for a backward pass, which without one is a forward pass called with `keep=False` for tensors that need
    gradients."""
    if grad_output.numel() and not tape.numel():
        raise RuntimeError("the forward pass did not keep what the backward pass reads")
    return tape.contiguous()


SCALES = 2
"""Vectors more that a varied rule keeps of each step (variation.h)."""


def unknown_tape(like: Tensor, keep: bool, allocate: Callable[[], Tensor], cu_seqlens: Tensor | None) -> Tensor:
    """A tape without values, for tracing: its size for a packed batch depends on the lengths."""
    if not keep:
        return like.new_empty(like.shape[2], 0, dtype=torch.uint8)
    if cu_seqlens is None:
        return allocate()
    return like.new_empty(like.shape[2], torch.library.get_ctx().new_dynamic_size(), dtype=torch.uint8)


def registers() -> int:
    """Bytes in one register of the library in use."""
    loaded = library.load()
    if isinstance(loaded, library.Missing):
        raise UserError(f"the compiled CPU kernels cannot run: {loaded.why}; choose from: auto, reference")
    return loaded.register_bytes


def call(name: str, problem: Problem, arguments: list[Place], *rest: int | None) -> None:
    """One kernel; `rest` are addresses and sizes. Raises `MemoryError`, or `RuntimeError` for what the build lacks."""
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
