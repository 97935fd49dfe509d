"""The result of a rule, and the choice of the backend."""

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops import cpu, triton


class Scan(NamedTuple):
    """The result of running a rule over a sequence.

    - `output`: `[batch, time, heads, d]`.
    - `state`: the state after the last position, a tensor or a tuple of tensors whose first axis is the batch. As
      `initial_state` of another call it continues the sequence.
    """

    output: Tensor
    state: Any


def scan_of(outputs: list[Tensor], like: Tensor, before: Any, after: Any) -> Scan:
    """A `Scan` that shares no memory with the initial state.

    outputs: the output of each position, `[batch, heads, d]`.
    like: a tensor `[batch, time, heads, d]`, whose shape the result has if there are no positions.
    before, after: the states before the first and after the last position.
    """
    output = torch.stack(outputs, dim=1) if outputs else like.new_zeros(like.shape)
    if isinstance(after, Tensor):
        return Scan(output, own(after, before))
    return Scan(output, tuple(map(own, after, before)))


def own(after: Tensor, before: Tensor) -> Tensor:
    """Copies the state if no step has changed it, so that writing to the result does not change an argument."""
    return after.clone(memory_format=torch.contiguous_format) if after is before else after


Forms = Mapping[str, Callable[..., Scan]]
"""A rule's forms by backend. Each takes the sequences, the slow weights and the initial state, in this order."""

PACKED = frozenset({"cpu", "triton"})
"""The backends whose forms take `cu_seqlens`. The others run packed sequences one at a time."""

COMPILED_TYPES = frozenset({torch.float32, torch.float64})
TRITON_TYPES = frozenset({torch.float32, torch.bfloat16, torch.float64})


_preferred: ContextVar[tuple[str, ...]] = ContextVar("preferred", default=())


@contextmanager
def prefer(*backends: str) -> Iterator[None]:
    """A context in which "auto" means the first of `backends` that a rule has. It sets the form for a whole model."""
    before = _preferred.set(backends)
    try:
        yield
    finally:
        _preferred.reset(before)


def preferred() -> tuple[str, ...]:
    """The backends that `prefer` has set; none inside `torch.compile`, which cannot trace a context variable."""
    return () if torch.compiler.is_compiling() else _preferred.get()


def means_reference(backend: str) -> bool:
    """Whether the backend is the reference, by its name or through `prefer`."""
    return backend == "reference" or (backend == "auto" and preferred()[:1] == ("reference",))


def chosen(
    rule: str,
    forms: Forms,
    backend: str,
    tensor: Tensor,
    *,
    given: tuple[str, ...] = (),
    packed: bool = False,
    kernels: str | None = None,
) -> str:
    """The backend to use: the named one, or for "auto" the fastest that can run on the tensor's device.

    tensor: the first input, `[batch, time, heads, d]`.
    given: the names of the optional arguments that are not None.
    kernels: the rule whose Triton kernels are used, if it is another one.

    Raises `UserError` if the named backend does not exist or cannot run. Another one never replaces it silently.
    """
    device, dtype, width = tensor.device, tensor.dtype, tensor.shape[-1]
    if backend == "auto":
        preference = preferred()
        if preference:
            backend = next((name for name in preference if name in forms), "auto")
    if backend == "auto":
        if device.type == "cpu" and not cpu.available():
            warn_once(f"fwplab: no compiled CPU kernels ({cpu.info()['why']}); slower PyTorch forms are used")
        return automatic(rule, forms, device, dtype, width, given=given, packed=packed, kernels=kernels)
    if backend not in forms:
        raise UserError(f"{rule} has no backend {backend!r}; choose from: auto, {', '.join(forms)}")
    if backend == "cpu" and not compiled_can_run(device, dtype):
        raise UserError(
            f"{rule}: backend 'cpu' needs float32 or float64 tensors on the CPU and the compiled library "
            f"(here: {dtype} on {device}; library: {cpu.info()['why']}); choose from: auto, reference"
        )
    if backend == "triton" and (
        why := triton.checked(kernels or rule, device, dtype, width, given=given, packed=packed)
    ):
        raise UserError(f"{rule}: backend 'triton' cannot be used on {device}: {why}; choose from: auto, reference")
    return backend


def automatic(
    rule: str,
    forms: Forms,
    device: torch.device,
    dtype: torch.dtype,
    width: int = 16,
    *,
    given: tuple[str, ...] = (),
    packed: bool = False,
    kernels: str | None = None,
) -> str:
    """The backend for "auto": the kernels for the device if they can run, else the chunkwise form, else the loop.

    On a GPU the Triton kernels of a rule are first compared with the reference, once in a process for each data type
    and head width.
    """
    if "cpu" in forms and compiled_can_run(device, dtype):
        return "cpu"
    if "triton" in forms and device.type == "cuda" and dtype in TRITON_TYPES:
        why = triton.checked(kernels or rule, device, dtype, width, given=given, packed=packed)
        if why is None:
            return "triton"
        warn_once(f"fwplab: no Triton kernels for {rule} on {device} ({why}); slower PyTorch forms are used")
    return next(name for name in ("chunk", "loop", "reference") if name in forms)


def compiled_first(forms: Forms, tensor: Tensor) -> bool:
    """Whether "auto" means the compiled kernels for this tensor. It is a fast check of the most frequent case."""
    return tensor.is_cpu and "cpu" in forms and tensor.dtype in COMPILED_TYPES and not preferred() and cpu.available()


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether "auto" runs a packed batch in one call on this device, instead of one sequence at a time."""
    return compiled_can_run(device, dtype) and PACKED.issuperset(_preferred.get())


def compiled_can_run(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the compiled kernels accept tensors of this device and data type on this machine."""
    return device.type == "cpu" and dtype in COMPILED_TYPES and cpu.available()


@functools.cache
def warn_once(message: str) -> None:
    """Prints a warning once in a process, even if a rule runs many times."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)
