"""Kernels as PyTorch operators that are differentiable to any order.

Calls with plain tensors skip the PyTorch dispatcher. It would add 0.1 to 0.25 ms to a forward and backward pass, which
is as long as the kernels take for a small batch. `torch.compile`, export, fake tensors and tracing get the operator.
The kernels have first derivatives in reverse mode. All other derivatives are computed by the definition of the rule.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

ORDINARY = frozenset({Tensor, torch.nn.Parameter, type(None), bool, int})
DERIVATIVES = frozenset({torch._C._functorch.TransformType.Grad, torch._C._functorch.TransformType.Jvp})
LEGACY_BATCH = torch._C._dispatch_key_parse("Batched")

Found = tuple[Tensor | None, ...]
"""The gradients of the leading arguments; None for an argument without a gradient."""

Gradients = Callable[..., Found]
"""`(arguments, saved, cotangents) -> gradients`. A cotangent of None means zero."""


def ordinary(arguments: tuple[Any, ...]) -> bool:
    """Whether all tensors are plain, and no transform, tracing, mode or forward-mode derivative is active."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._get_tracing_state() is None
        and forward_ad._current_level < 0
        and ORDINARY.issuperset(map(type, arguments))
    )


def in_legacy_batch(tensor: Tensor | None) -> bool:
    """Whether this is a batch of cotangents (`is_grads_batched`), which only the dispatcher can read."""
    return tensor is not None and torch._C._dispatch_keys(tensor).has(LEGACY_BATCH)


def forward_mode() -> bool:
    """Whether forward-mode derivatives (`torch.func.jvp`, `torch.autograd.forward_ad`) are being computed."""
    return forward_ad._current_level >= 0


def derivatives_traced() -> bool:
    """Whether `torch.compile` is tracing a derivative transform of `torch.func`."""
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    return forward_mode() or any(each.key() in DERIVATIVES for each in transforms)


# As for `fwplab.ops.cpu.available`: `torch.compile` calls it during tracing, but cannot trace it.
derivatives_traced._dynamo_marked_constant = True  # type: ignore[attr-defined]


class Kernel:
    """A kernel and its PyTorch operator. A call uses the fastest way with the same result."""

    def __init__(self, name: str, function: Callable[..., Any], device_types: str | None) -> None:
        self.function = function
        self.operator = torch.library.custom_op(name, function, mutates_args=(), device_types=device_types)
        self.register_fake = self.operator.register_fake
        self.direct: Callable[..., Any] | None = None
        self.transformed: Any = None
        self.definition: Callable[..., tuple[Tensor, ...]] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if ordinary(arguments):
            if self.direct is not None and needs_tape(*arguments):
                return self.direct(*arguments)
            if self.direct is None and in_legacy_batch(arguments[0]):
                return self.operator(*arguments)  # the dispatcher calls it once for each of the batch
            return self.function(*arguments)
        return self.way()(*arguments)

    def way(self) -> Callable[..., Any]:
        """The function to call when a transform, a tracer or a mode is active."""
        if self.definition is None:
            return self.operator
        if torch.compiler.is_compiling():
            return self.definition if derivatives_traced() else self.operator
        if forward_mode():
            return self.definition
        transformed: Callable[..., Any] = self.transformed.apply
        return self.operator if torch._C._functorch.peek_interpreter_stack() is None else transformed

    def register_vmap(self, mapped: Callable[..., Any]) -> None:
        """Registers the vmap rule, as for a custom operator."""
        self.operator.register_vmap(mapped)
        if self.transformed is not None:
            self.transformed.vmap = staticmethod(mapped)

    def register_autograd(
        self,
        gradients: Gradients,
        *,
        tensors: int,
        saves: tuple[int, ...],
        definition: Callable[..., tuple[Tensor, ...]],
    ) -> None:
        """Makes the operator differentiable.

        gradients: the backward pass of the kernel.
        tensors: how many leading arguments are tensors or None.
        saves: the indices of the results that the backward pass reads.
        definition: computes the leading results, those with gradients, from the same arguments with PyTorch operations.
            PyTorch differentiates it to any order, in forward and reverse mode.
        """
        self.definition, function = definition, self.function
        gradient = gradient_function(gradients, tensors, definition)

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*inputs[:tensors], *(output[place] for place in saves))
            ctx.options = inputs[tensors:]

        def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
            values = ctx.saved_tensors
            arguments, saved = (*values[:tensors], *ctx.options), values[tensors:]
            found: Sequence[Tensor | None]
            if forward_mode() or (torch.is_grad_enabled() and any(map(in_legacy_batch, cotangents))):
                found = by_definition(definition, arguments, cotangents)
            elif torch.is_grad_enabled():
                found = gradient(arguments, saved, cotangents)
            else:
                found = gradients(arguments, saved, cotangents)
            return *found, *(None,) * (len(arguments) - len(found))

        differentiate = staticmethod(backward)

        class Direct(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *arguments: Any) -> Any:
                results = function(*arguments)
                setup_context(ctx, arguments, results)
                return results

            backward = differentiate

        class Transformed(torch.autograd.Function):
            @staticmethod
            def forward(*arguments: Any) -> Any:
                return self(*arguments)

            backward = differentiate

        Transformed.setup_context = staticmethod(setup_context)  # type: ignore[method-assign]
        self.direct, self.transformed = Direct.apply, Transformed
        self.operator.register_autograd(backward, setup_context=setup_context)


def gradient_function(gradients: Gradients, tensors: int, definition: Callable[..., tuple[Tensor, ...]]) -> Gradients:
    """The backward pass of a kernel as a differentiable function. Its derivatives come from the definition."""

    class Gradient(torch.autograd.Function):
        """`(counts, *arguments, *saved, *cotangents) -> gradients of the differentiable arguments`."""

        generate_vmap_rule = True

        @staticmethod
        def forward(counts: tuple[int, int], *values: Any) -> Found:
            arguments, saved, cotangents = parts(counts, values)
            found = gradients(arguments, saved, cotangents)
            return tuple(found[place] for place in differentiable(arguments[:tensors]))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            ctx.set_materialize_grads(False)
            counts, *values = inputs
            ctx.is_tensor = [isinstance(value, Tensor) for value in values]
            ctx.save_for_backward(*(value for value in values if isinstance(value, Tensor)))
            ctx.counts = counts
            ctx.others = [None if isinstance(value, Tensor) else value for value in values]

        @staticmethod
        def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
            held = iter(ctx.saved_tensors)
            values = [next(held) if kept else other for kept, other in zip(ctx.is_tensor, ctx.others, strict=True)]
            arguments, saved, cotangents = parts(ctx.counts, values)
            of_arguments, of_cotangents = second_gradients(definition, arguments, cotangents, outer)
            return None, *of_arguments, *(None for _ in saved), *of_cotangents

    def apply(arguments: tuple[Any, ...], saved: tuple[Any, ...], cotangents: tuple[Any, ...]) -> tuple[Any, ...]:
        found: list[Tensor | None] = [None] * tensors
        results = Gradient.apply(  # type: ignore[no-untyped-call]
            (len(arguments), len(saved)), *arguments, *saved, *cotangents
        )
        for place, value in zip(differentiable(arguments[:tensors]), results, strict=True):
            found[place] = value
        return tuple(found)

    return apply


def second_gradients(
    definition: Callable[..., tuple[Tensor, ...]],
    arguments: tuple[Any, ...],
    cotangents: tuple[Tensor | None, ...],
    outer: tuple[Tensor | None, ...],
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """The gradients of arguments and cotangents, from those (`outer`) of the gradients that `by_definition` finds."""
    wanted = differentiable(arguments)
    given = [place for place, cotangent in enumerate(cotangents) if cotangent is not None]

    def first(*moving: Tensor) -> tuple[Tensor, ...]:
        now, covectors = list(arguments), list(cotangents)
        for place, value in zip(wanted, moving, strict=False):
            now[place] = value
        for place, value in zip(given, moving[len(wanted) :], strict=True):
            covectors[place] = value
        found = by_definition(definition, tuple(now), tuple(covectors))
        return tuple(found[place] for place in wanted)  # type: ignore[misc]

    moving = *(arguments[place] for place in wanted), *(cotangents[place] for place in given)
    results, pull = torch.func.vjp(first, *moving)  # type: ignore[misc]
    second = pull(tuple(torch.zeros_like(r) if o is None else o for r, o in zip(results, outer, strict=True)))
    of_arguments: list[Tensor | None] = [None] * len(arguments)
    of_cotangents: list[Tensor | None] = [None] * len(cotangents)
    for place, value in zip(wanted, second, strict=False):
        of_arguments[place] = value
    for place, value in zip(given, second[len(wanted) :], strict=True):
        of_cotangents[place] = value
    return of_arguments, of_cotangents


def parts(counts: tuple[int, int], values: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Splits a list into arguments, saved results and cotangents. counts: how many arguments and saved results."""
    first, second = counts[0], sum(counts)
    return tuple(values[:first]), tuple(values[first:second]), tuple(values[second:])


def differentiable(arguments: tuple[Any, ...]) -> list[int]:
    """The indices of the arguments that can have a gradient."""
    return [place for place, a in enumerate(arguments) if isinstance(a, Tensor) and a.is_floating_point()]


def by_definition(
    definition: Callable[..., tuple[Tensor, ...]], arguments: tuple[Any, ...], cotangents: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """The gradients of all arguments by the definition. They are differentiable; None for one without a gradient."""
    wanted = differentiable(arguments)

    def results(*moving: Tensor) -> tuple[Tensor, ...]:
        now = list(arguments)
        for place, value in zip(wanted, moving, strict=True):
            now[place] = value
        return definition(*now)

    found, pull = torch.func.vjp(results, *(arguments[place] for place in wanted))  # type: ignore[misc]
    pairs = zip(found, cotangents, strict=False)
    covectors = (torch.zeros_like(r) if c is None else c.to(r.dtype) for r, c in pairs)
    gradients: list[Tensor | None] = [None] * len(arguments)
    for place, value in zip(wanted, pull(tuple(covectors)), strict=True):
        gradients[place] = value
    return gradients


def as_operator(name: str, device_types: str | None = "cpu") -> Callable[[Callable[..., Any]], Kernel]:
    """A decorator that makes a function a `Kernel`. device_types: the devices of its tensors; None for all."""
    return lambda function: Kernel(name, function, device_types)


def needs_tape(*arguments: Any) -> bool:
    """Whether a backward pass may follow. During tracing this is unknown, so that the answer is yes."""
    if torch._C._get_tracing_state() is not None:
        return True
    if torch.is_grad_enabled():
        for argument in arguments:  # a generator takes twice as long, and this is asked in every call
            if isinstance(argument, Tensor) and argument.requires_grad:
                return True
    return False


def resolved(tensor: Tensor | None) -> Tensor | None:
    """The tensor without PyTorch's lazy negation, so that its memory has its values."""
    return tensor.resolve_neg() if tensor is not None and tensor.is_neg() else tensor


def with_rows(tensor: Tensor) -> Tensor:
    """The tensor as a kernel reads it: without lazy negation, and with a contiguous last dimension."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()
