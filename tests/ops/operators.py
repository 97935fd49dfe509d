"""The PyTorch operator that a form of a rule calls, found by running the form and recording the call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from fwplab.ops.operator import Kernel

Call = tuple[Kernel, tuple[Any, ...]]


@contextmanager
def record_calls() -> Iterator[list[Call]]:
    """Inside this context, every call of an operator is appended to the list, with its arguments."""
    calls: list[Call] = []
    call = Kernel.__call__

    def record(self: Kernel, *arguments: Any) -> Any:
        calls.append((self, arguments))
        return call(self, *arguments)

    Kernel.__call__ = record  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        Kernel.__call__ = call  # type: ignore[method-assign]


def operator_of(form: Callable[..., Any], *inputs: Tensor | None, **options: Any) -> Call:
    """The operator that a form calls for these inputs, and its arguments; the floating-point ones require gradients."""
    with record_calls() as calls:
        form(*(tensor if tensor is None else tensor.detach().requires_grad_() for tensor in inputs), **options)
    (kernel, arguments) = calls[0]
    return kernel, tuple(x.detach().requires_grad_() if is_floating(x) else x for x in arguments)


def is_floating(argument: object) -> bool:
    """Whether this is a floating-point tensor, which can have a gradient."""
    return isinstance(argument, Tensor) and argument.is_floating_point()
