"""The operators behind the forms of the rules, found by running a form: no table of operators and arguments is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from fwplab.ops.operator import Kernel

Call = tuple[Kernel, tuple[Any, ...]]


@contextmanager
def recorded() -> Iterator[list[Call]]:
    """Inside, every call of an operator is entered into the list, with its arguments."""
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
    """The operator that a form calls for these inputs, and its arguments: leaves that ask for gradients."""
    with recorded() as calls:
        form(*(tensor if tensor is None else tensor.detach().requires_grad_() for tensor in inputs), **options)
    (kernel, arguments) = calls[0]
    return kernel, tuple(x.detach().requires_grad_() if is_number(x) else x for x in arguments)


def is_number(argument: object) -> bool:
    """Whether this is a tensor that may have a gradient."""
    return isinstance(argument, Tensor) and argument.is_floating_point()
