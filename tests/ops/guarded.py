"""Every rule on tensors between protected pages: `python -m tests.ops.guarded` prints the outcome of each case.

Every tensor touches the protected page before it or the one after it. An access outside the tensor on that side is a
segmentation fault. This holds for the inputs and for all that the kernels allocate (results, gradients, tape), because
`new_empty` and `empty_like` are replaced. The rest of a tensor's own pages holds a pattern that a stray write would
change. Each case runs in a child process, because it may crash.
"""

import ctypes
import importlib
import json
import math
import mmap
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from tests.ops.rules import CASES, COMPILED, states
from torch import Tensor

from fwplab.ops import Scan, delta_product

SIDES = ("front", "back")
WIDTHS = (1, 4, 5, 8, 16, 20, 64)
SHAPES = ((1, 1, 1), (2, 10, 2), (1, 35, 1), (9, 9, 3), (2, 3, 16))
"""Batch, time, heads: a single step, the rows layout, several segments, the lanes layout, several heads at once."""
LENGTHS = ((3, 0, 9, 1), (2,), (4, 1, 6, 2, 2, 5, 3, 1, 1))
PATTERN = 0xA5
PAGE = mmap.PAGESIZE


class GuardedMemory:
    """Memory for tensors between two protected pages, at the `front` or the `back` of the pages in between."""

    def __init__(self, side: str) -> None:
        self.side = side
        self.margins: list[tuple[int, int]] = []
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.mmap.restype = ctypes.c_void_p
        self.libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self.libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor of this shape, filled with NaN. A tensor of bytes (a tape) is aligned to 64 bytes, as in PyTorch."""
        count = math.prod(shape)
        size = count * dtype.itemsize
        if not size:
            return torch.empty(shape, dtype=dtype)
        pages = -(-size // PAGE) * PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        start = self.libc.mmap(None, pages + 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) + PAGE
        self.libc.mprotect(start - PAGE, PAGE, 0)
        self.libc.mprotect(start + pages, PAGE, 0)
        ctypes.memset(start, PATTERN, pages)
        offset = 0 if self.side == "front" else pages - size
        if dtype == torch.uint8:
            offset -= offset % 64
        self.margins += [(start, offset), (start + offset + size, pages - offset - size)]
        ctypes.memset(start + offset, 0xFF, size)  # NaN in every floating-point type
        return torch.frombuffer((ctypes.c_char * size).from_address(start + offset), dtype=dtype).view(shape)

    def copy(self, tensor: Tensor) -> Tensor:
        """A copy of the tensor in guarded memory."""
        return self.empty(tuple(tensor.shape), tensor.dtype).copy_(tensor)

    def margins_changed(self) -> bool:
        """Whether a byte beside a tensor was written."""
        return any(ctypes.string_at(at, size).strip(bytes([PATTERN])) for at, size in self.margins)

    def patch_allocators(self) -> None:
        """From now on the kernels allocate guarded memory."""

        def new_empty(tensor: Tensor, *shape: Any, dtype: torch.dtype | None = None) -> Tensor:
            sizes = tuple(shape[0]) if shape and not isinstance(shape[0], int) else tuple(shape)
            return self.empty(sizes, dtype or tensor.dtype)

        def empty_like(tensor: Tensor, **_: Any) -> Tensor:
            return self.empty(tuple(tensor.shape), tensor.dtype)

        torch.Tensor.new_empty = new_empty  # type: ignore[method-assign,assignment]
        torch.empty_like = empty_like


def delta_products(*inputs: Tensor, **options: Any) -> Scan:
    """The delta product with two steps a position, from the inputs of a delta rule."""
    query, key, value, beta = inputs
    twice = [torch.stack([tensor, tensor.flip(1)], dim=2) for tensor in (key, value, beta)]
    return delta_product(query, *twice, **options)


def time_first(tensor: Tensor, guard: GuardedMemory) -> Tensor:
    """The same tensor `[batch, time, ...]` with time as the outer dimension in memory."""
    return guard.copy(tensor.transpose(0, 1)).transpose(0, 1)


def check_one_shape(
    rule: Callable[..., Scan], inputs: list[Tensor], sequences: int, lengths: tuple[int, ...], guard: GuardedMemory
) -> None:
    """Forward and backward pass; raises if a result is not written or an input has changed."""
    count = len(lengths) or inputs[0].shape[0]
    first = rule(*(tensor[:1, :1] for tensor in inputs[:sequences]), *inputs[sequences:], backend="reference")
    start = [guard.copy(torch.full((count, *state.shape[1:]), 0.1, dtype=state.dtype)) for state in states(first)]
    for layout in (guard.copy, lambda tensor: time_first(tensor, guard)):
        leaves = [*map(layout, inputs[:sequences]), *map(guard.copy, inputs[sequences:]), *start]
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        before = [leaf.detach().clone() for leaf in leaves]
        initial = tuple(leaves[len(inputs) :])
        bounds = torch.tensor([0, *lengths]).cumsum(0) if lengths else None
        scan = rule(
            *leaves[: len(inputs)],
            initial_state=initial if len(initial) > 1 else initial[0],
            cu_seqlens=bounds,
            backend="cpu",
        )
        results = [scan.output, *states(scan)]
        weights = [guard.copy(torch.ones_like(result)) for result in results]
        gradients = torch.autograd.grad(results, leaves, weights, allow_unused=True, materialize_grads=True)
        assert all(tensor.isfinite().all() for tensor in (*results, *gradients)), "a result was not written"
        assert all(torch.equal(leaf, own) for leaf, own in zip(leaves, before, strict=True)), "an input was changed"
    assert not guard.margins_changed(), "a kernel wrote outside a tensor"


def check_all_shapes(name: str, side: str, width: int) -> None:
    """One rule at one width, for all shapes and packed lengths."""
    torch.set_num_threads(1)
    guard = GuardedMemory(side)
    case = CASES["signed_delta" if name == "delta_product" else name]
    rule = delta_products if name == "delta_product" else case.rule
    dtype = torch.float64 if width in (4, 5) else torch.float32
    generator = torch.Generator().manual_seed(0)
    guard.patch_allocators()
    for batch, time, heads in SHAPES:
        inputs = [tensor.to(dtype) for tensor in case.draw(batch, time, heads, width, generator)]
        check_one_shape(rule, inputs, case.sequences, (), guard)
    for lengths in LENGTHS:
        for heads in (2, 8):
            inputs = [tensor.to(dtype) for tensor in case.draw(1, sum(lengths), heads, width, generator)]
            check_one_shape(rule, inputs, case.sequences, lengths, guard)


def cases() -> Iterator[tuple[str, str, int]]:
    """All combinations of rule, side and width."""
    return ((name, side, width) for name in (*COMPILED, "delta_product") for side in SIDES for width in WIDTHS)


def run_in_child(name: str, side: str, width: int) -> str:
    """The outcome of a case in a child process: "ok", or what went wrong."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            check_all_shapes(name, side, width)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "ok" if code == 0 else f"killed by signal {-code}" if code < 0 else "an error, printed above"


if __name__ == "__main__":
    importlib.import_module("torch.fx.experimental.symbolic_shapes")  # otherwise every child process imports it
    for case in cases():
        print(json.dumps([*case, run_in_child(*case)]))
