"""Kernels as PyTorch operators, differentiable to any order, and past the dispatcher where nothing asks for it.

A forward and backward pass through the dispatcher costs 0.1 to 0.25 ms more, as much as the kernels take for a small
batch. What has to know the operator (torch.compile, export, fake tensors, tracing) still meets it. The kernels have
first derivatives in reverse mode; all others are those of the rule's definition in PyTorch.
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
"""Gradients of the leading arguments, None for those that have none."""

Gradients = Callable[..., Found]
"""`(arguments, saved, cotangents) -> gradients`; a cotangent that is None is zero."""


def ordinary(arguments: tuple[Any, ...]) -> bool:
    """Whether these are plain tensors and no transform, tracer, mode or forward-mode derivative is active."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._get_tracing_state() is None
        and forward_ad._current_level < 0
        and ORDINARY.issuperset(map(type, arguments))
    )


def in_legacy_batch(tensor: Tensor | None) -> bool:
    """Whether this is one of a batch of cotangents (`is_grads_batched`), which the dispatcher alone can look into."""
    return tensor is not None and torch._C._dispatch_keys(tensor).has(LEGACY_BATCH)


def forward_mode() -> bool:
    """Whether forward-mode derivatives (`torch.func.jvp`, `torch.autograd.forward_ad`) are being computed."""
    return forward_ad._current_level >= 0


def derivatives_traced() -> bool:
    """Whether `torch.compile` is inside a transform of `torch.func` that takes derivatives, which it traces through."""
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    return forward_mode() or any(each.key() in DERIVATIVES for each in transforms)


# As for `fwplab.ops.cpu.available`: it is asked while the program is traced.
derivatives_traced._dynamo_marked_constant = True  # type: ignore[attr-defined]


class Kernel:
    """A function of tensors as the operator `name`; called, it takes the shortest way that has the same effect."""

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
                return self.operator(*arguments)  # `is_grads_batched`: the dispatcher calls it for one after the other
            return self.function(*arguments)
        return self.way()(*arguments)

    def way(self) -> Callable[..., Any]:
        """What computes the same as the operator where something has to know about it."""
        if self.definition is None:
            return self.operator
        if torch.compiler.is_compiling():
            return self.definition if derivatives_traced() else self.operator
        if forward_mode():
            return self.definition
        transformed: Callable[..., Any] = self.transformed.apply
        return self.operator if torch._C._functorch.peek_interpreter_stack() is None else transformed

    def register_vmap(self, mapped: Callable[..., Any]) -> None:
        """As for a custom operator."""
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
        """Make the operator differentiable.

        `gradients`: the kernel's backward pass. `tensors`: how many leading arguments are tensors or None. `saves`: the
        results that the backward pass reads. `definition`: the leading results, those that have gradients, of the same
        arguments by operations that PyTorch differentiates to any order, in both modes.
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
    """The backward pass of a kernel as a function with derivatives of its own, which the definition gives."""

    class Gradient(torch.autograd.Function):
        """`(counts, *arguments, *saved, *cotangents) -> the gradients of arguments that have one`."""

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
    """Arguments, saved results and cotangents, which stand one behind the other."""
    first, second = counts[0], sum(counts)
    return tuple(values[:first]), tuple(values[first:second]), tuple(values[second:])


def differentiable(arguments: tuple[Any, ...]) -> list[int]:
    """The places of the arguments that have a gradient."""
    return [place for place, a in enumerate(arguments) if isinstance(a, Tensor) and a.is_floating_point()]


def by_definition(
    definition: Callable[..., tuple[Tensor, ...]], arguments: tuple[Any, ...], cotangents: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """The gradient of every argument, None where there is none, as a differentiable function of all."""
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
    """The decorator for a function of tensors on `device_types`, on any if None."""
    return lambda function: Kernel(name, function, device_types)


def needs_tape(*arguments: Any) -> bool:
    """Whether a backward pass may follow; whoever traces does not know yet."""
    if torch._C._get_tracing_state() is not None:
        return True
    if torch.is_grad_enabled():
        for argument in arguments:  # a generator takes twice as long, and this is asked in every call
            if isinstance(argument, Tensor) and argument.requires_grad:
                return True
    return False


def resolved(tensor: Tensor | None) -> Tensor | None:
    """The tensor with its own numbers in memory, not those that a lazy view still has to negate."""
    return tensor.resolve_neg() if tensor is not None and tensor.is_neg() else tensor


def with_rows(tensor: Tensor) -> Tensor:
    """The tensor as a kernel reads it: its own numbers in memory, those of the last dimension side by side."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()
