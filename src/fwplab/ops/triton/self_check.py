"""Every rule's kernels against its reference on this very GPU, before anything is computed with them.

Kernels for one chip have been wrong on another without a word (fla-org/flash-linear-attention, issues 640 and 984:
gradients on Hopper), so agreement elsewhere proves nothing here.
"""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional

from fwplab.ops import triton

POSITIONS, HEADS = 37, 2
WIDTHS = (16, 64)
"""Of the heads; different tiles take different instructions."""

CHECKS: dict[tuple[str, torch.device], str | None] = {}
"""What was found in this process, by rule and device."""


def result(rule: str) -> str:
    """The rule's check on the devices where it has run, for people to read."""
    found = [f"{device}: {why or 'passed'}" for (name, device), why in CHECKS.items() if name == rule]
    return "; ".join(found) or "not run yet"


def reason(rule: str, device: torch.device) -> str | None:
    """Why the rule's kernels must not be used on `device`, None if they agree with the reference; found once."""
    if (rule, device) not in CHECKS:
        with ThreadPoolExecutor(1) as other:  # the caller may be inside no_grad, autocast or vmap: threads are not
            CHECKS[rule, device] = other.submit(examine, rule, device).result()
    return CHECKS[rule, device]


def examine(rule: str, device: torch.device) -> str | None:
    """Compare outputs, states and gradients; one line about the first that differs."""
    for width in WIDTHS:
        for gated in (False, True) if rule == "delta" else (False,):
            inputs = draw(rule, width, gated)
            try:
                found = run(getattr(triton, rule), [None if t is None else t.to(device) for t in inputs])
            except Exception as failure:  # whatever the compiler or the driver raises is the reason
                first_line = f"{type(failure).__name__}: {failure}".split("\n")[0]
                return f"{rule} at width {width} does not run on {device}: {first_line}"
            truth = run(reference(rule), [None if t is None else t.double() for t in inputs])
            loop = run(reference(rule), inputs)
            for name, *tensors in zip(names(rule, inputs), found, truth, loop, strict=True):
                error, allowed = (float(number) for number in compare(*tensors))
                if not error <= allowed:  # NaN fails too
                    return (
                        f"{rule} at width {width} is wrong on {device}: {name} differs from the reference by "
                        f"{error:.1e} of its size, {allowed:.1e} is rounding"
                    )
    return None


def compare(found: Tensor, truth: Tensor, loop: Tensor) -> tuple[Tensor, Tensor]:
    """The error of `found`, and what rounding explains: 8 times what float32 does to the reference, and 64 roundings.

    Both are parts of the largest value. The factors leave room for sums in another order, for the GPU's exponential
    (2 to 5 units in the last place) and for products whose operands keep 22 bits; a wrong kernel is off by percents.
    """
    size = truth.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    own = (loop.double() - truth).abs().max() / size
    return (found.double().cpu() - truth).abs().max() / size, 8 * own + 64 * torch.finfo(torch.float32).eps


def run(rule: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor | None]) -> list[Tensor]:
    """The results, then the gradients of a random functional of them."""
    leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in inputs]
    results = rule(*leaves)
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(tensor.shape, generator=generator).to(tensor) for tensor in results]
    gradients = torch.autograd.grad(results, [leaf for leaf in leaves if leaf is not None], cotangents)
    return [tensor.detach() for tensor in (*results, *gradients)]


def names(rule: str, inputs: list[Tensor | None]) -> list[str]:
    """What `run` returns, in words."""
    states = {"recurrent_delta": 2, "srwm": 4}.get(rule, 1)
    places = [place for place, tensor in enumerate(inputs) if tensor is not None]
    ending = [f"final state {state + 1}" for state in range(states)]
    return ["the output", *ending, *(f"the gradient of argument {place + 1}" for place in places)]


def reference(rule: str) -> Callable[..., tuple[Tensor, ...]]:
    """The rule's definition, its result as flat as that of the kernels."""
    definition = importlib.import_module(f"fwplab.ops.{rule}").reference

    def flat(*arguments: Tensor) -> tuple[Tensor, ...]:
        output, state = definition(*arguments)
        return (output, state) if isinstance(state, Tensor) else (output, *state)

    return flat


def draw(rule: str, width: int, gated: bool) -> list[Tensor | None]:
    """Random float32 arguments of the rule, the initial state among them."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    rows = [normal(1, POSITIONS, HEADS, width) for _ in range(3)]
    numbers = [normal(1, POSITIONS, HEADS) for _ in range(2)]
    state, scale = normal(1, HEADS, width, width), width**-0.5
    if rule == "linear":
        return [*rows, state]
    if rule == "delta":
        query, key, value = rows
        beta, log_decay = 2 * numbers[0].sigmoid(), functional.logsigmoid(numbers[1])
        return [query, functional.normalize(key, dim=-1), value, beta, log_decay if gated else None, state]
    if rule == "recurrent_delta":
        slow = [normal(HEADS, width, width) * scale for _ in range(3)]
        return [*rows, numbers[0], *slow, normal(HEADS, width) * scale, state, normal(1, HEADS, width)]
    if rule == "srwm":
        return [rows[0], *(normal(1, HEADS, width, columns) * scale for columns in (width, width, width, 4))]
    return [*rows[:2], normal(HEADS, width), normal(HEADS, width), normal(1, HEADS, width)]
