"""What every rule returns, packed batches, and the one place where the machine is chosen."""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops import cpu, triton


class Scan(NamedTuple):
    """The result of running a rule over a sequence.

    `output`: `[batch, time, heads, d]`. `state`: what the rule carries to the next position, a tensor or a tuple of
    tensors with the batch first; passed back as `initial_state` it continues the sequence.
    """

    output: Tensor
    state: Any


Forms = Mapping[str, Callable[..., Scan]]
"""A rule's forms by backend. Each takes the sequences, the slow weights and the initial state, in this order."""

PACKED = frozenset({"cpu", "triton"})
"""The backends whose forms take `cu_seqlens` themselves; for the others the sequences run one after the other."""

TRITON_TYPES = frozenset({torch.float32, torch.bfloat16, torch.float64})


_preferred: ContextVar[tuple[str, ...]] = ContextVar("preferred", default=())


@contextmanager
def prefer(*backends: str) -> Iterator[None]:
    """Inside, "auto" means the first of `backends` that a rule has, so that a whole model can be run in one form."""
    before = _preferred.set(backends)
    try:
        yield
    finally:
        _preferred.reset(before)


def preferred() -> tuple[str, ...]:
    """What `prefer` has set; nothing inside `torch.compile`, which cannot follow a context variable."""
    return () if torch.compiler.is_compiling() else _preferred.get()


def run(
    rule: str,
    forms: Forms,
    backend: str,
    sequences: Sequence[Tensor | None],
    slow: Sequence[Tensor] = (),
    *,
    state: Sequence[Tensor],
    cu_seqlens: Tensor | None,
) -> Scan:
    """The rule by the form that `backend` names, or by the fastest one for "auto"."""
    first = sequences[0]
    assert first is not None
    gated = rule == "delta" and sequences[-1] is not None
    name = chosen(rule, forms, backend, first, gated=gated, packed=cu_seqlens is not None)
    if cu_seqlens is None or name in PACKED:
        packed = {} if cu_seqlens is None else {"cu_seqlens": cu_seqlens}
        return forms[name](*sequences, *slow, *state, **packed)
    scans = []
    for index, (start, end) in enumerate(zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True)):
        own = (None if tensor is None else tensor[:, start:end] for tensor in sequences)
        scans.append(forms[name](*own, *slow, *(tensor[index : index + 1] for tensor in state)))
    if not scans:
        return Scan(torch.zeros_like(first), state[0] if len(state) == 1 else tuple(state))
    return Scan(torch.cat([scan.output for scan in scans], dim=1), joined([scan.state for scan in scans]))


def joined(states: list[Any]) -> Any:
    """The states of several sequences as those of one batch."""
    if isinstance(states[0], Tensor):
        return torch.cat(states)
    return tuple(torch.cat(parts) for parts in zip(*states, strict=True))


def count_sequences(rule: str, tensor: Tensor, cu_seqlens: Tensor | None) -> int:
    """How many sequences `tensor` `[batch, time, ...]` holds: its batch, or what `cu_seqlens` says of a packed one.

    `cu_seqlens` `[sequences + 1]` are the positions where each packed sequence begins, and the end of the last; the
    batch is then 1. Raises `UserError` where they do not fit the tensor.
    """
    if cu_seqlens is None:
        return tensor.shape[0]
    bounds = cu_seqlens.tolist() if cu_seqlens.dim() == 1 and not cu_seqlens.is_floating_point() else []
    rising = all(a <= b for a, b in itertools.pairwise(bounds))
    if tensor.shape[0] != 1 or not bounds or not rising or bounds[0] != 0 or bounds[-1] != tensor.shape[1]:
        raise UserError(
            f"{rule}: cu_seqlens must be whole numbers [sequences + 1] that rise from 0 to the time of a batch of 1 "
            f"(here: batch {tensor.shape[0]}, time {tensor.shape[1]})"
        )
    return len(bounds) - 1


def chosen(rule: str, forms: Forms, backend: str, tensor: Tensor, *, gated: bool = False, packed: bool = False) -> str:
    """The backend itself, or for "auto" the fastest that can run on the tensor's device.

    `tensor` is the first input, `[batch, time, heads, d]`. A named form that does not exist or cannot run is an error,
    never a silent replacement.
    """
    device, dtype, width = tensor.device, tensor.dtype, tensor.shape[-1]
    if backend == "auto":
        backend = next((name for name in preferred() if name in forms), "auto")
    if backend == "auto":
        if device.type == "cpu" and not cpu.available():
            warn_once(f"fwplab: no compiled CPU kernels ({cpu.info()['why']}); slower PyTorch forms are used")
        return automatic(rule, forms, device, dtype, width, gated=gated, packed=packed)
    if backend not in forms:
        raise UserError(f"{rule} has no backend {backend!r}; choose from: auto, {', '.join(forms)}")
    if backend == "cpu" and not compiled_can_run(device, dtype):
        raise UserError(
            f"{rule}: backend 'cpu' needs float32 or float64 tensors on the CPU and the compiled library "
            f"(here: {dtype} on {device}; library: {cpu.info()['why']}); choose from: auto, reference"
        )
    if backend == "triton" and (why := triton.checked(rule, device, dtype, width, gated=gated, packed=packed)):
        raise UserError(f"{rule}: backend 'triton' cannot be used on {device}: {why}; choose from: auto, reference")
    return backend


def automatic(
    rule: str,
    forms: Forms,
    device: torch.device,
    dtype: torch.dtype,
    width: int = 16,
    *,
    gated: bool = False,
    packed: bool = False,
) -> str:
    """What "auto" takes: the kernels for the device where they run, else the chunkwise form, else the loop.

    On a GPU a rule's Triton kernels are first checked against the reference, once a process for each type and width.
    """
    if "cpu" in forms and compiled_can_run(device, dtype):
        return "cpu"
    if "triton" in forms and device.type == "cuda" and dtype in TRITON_TYPES:
        why = triton.checked(rule, device, dtype, width, gated=gated, packed=packed)
        if why is None:
            return "triton"
        warn_once(f"fwplab: no Triton kernels for {rule} on {device} ({why}); slower PyTorch forms are used")
    return next(name for name in ("chunk", "loop", "reference") if name in forms)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether "auto" takes a packed batch of sequences in one call there, rather than one sequence after the other."""
    return compiled_can_run(device, dtype) and PACKED.issuperset(_preferred.get())


def compiled_can_run(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled kernels take tensors of this kind on this machine."""
    return device.type == "cpu" and dtype in (torch.float32, torch.float64) and cpu.available()


@functools.cache
def warn_once(message: str) -> None:
    """One line for the process, however often a rule runs."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)
