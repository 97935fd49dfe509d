"""Kernels as PyTorch operators, and past the dispatcher where nothing asks for it.

A forward and backward pass through the dispatcher costs 0.1 to 0.25 ms more, as much as the kernels take for a small
batch. What has to know the operator (vmap, torch.compile, export, fake tensors, tracing modes) still meets it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ORDINARY = frozenset({Tensor, torch.nn.Parameter, type(None), bool, int})


def ordinary(arguments: tuple[Any, ...]) -> bool:
    """Whether these are plain tensors and no transform, tracer or mode is active."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._len_torch_dispatch_stack()
        and all(type(argument) in ORDINARY for argument in arguments)
    )


class Kernel:
    """A function of CPU tensors as the operator `name`; called, it takes the shortest way that has the same effect."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.function = function
        self.operator = torch.library.custom_op(name, function, mutates_args=(), device_types="cpu")
        self.register_fake = self.operator.register_fake
        self.register_vmap = self.operator.register_vmap
        self.apply: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if not ordinary(arguments):
            return self.operator(*arguments)
        if self.apply is None or not needs_tape(*arguments):
            return self.function(*arguments)
        return self.apply(*arguments)

    def register_autograd(self, differentiate: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """As for a custom operator."""
        self.operator.register_autograd(differentiate, setup_context=setup_context)
        function = self.function

        class Direct(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *arguments: Any) -> Any:
                results = function(*arguments)
                setup_context(ctx, arguments, results)
                return results

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, *gradients: Tensor | None) -> Any:
                return differentiate(ctx, *gradients)

        self.apply = Direct.apply


def kernel(name: str) -> Callable[[Callable[..., Any]], Kernel]:
    """The decorator for a function of CPU tensors."""
    return lambda function: Kernel(name, function)


def needs_tape(*arguments: Any) -> bool:
    """Whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in arguments)


def with_rows(tensor: Tensor) -> Tensor:
    """The tensor, copied only if its last dimension is not contiguous."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()
