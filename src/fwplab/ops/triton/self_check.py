"""A rule's kernels against its reference on this very GPU, before anything is computed with them.

Kernels for one chip have been wrong on another without a word (fla-org/flash-linear-attention, issues 640 and 984:
gradients on Hopper), so agreement elsewhere proves nothing here.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from fwplab.ops import triton
from fwplab.ops.rule import RULES, Arguments

POSITIONS, HEADS = 37, 2


@dataclass(frozen=True)
class Use:
    """What kernels are asked for: with another type, tile or switch they are other machine code."""

    rule: str
    device: torch.device
    dtype: torch.dtype
    width: int
    given: tuple[str, ...]
    packed: bool

    def __str__(self) -> str:
        switches = [*(f"with {name}" for name in self.given), *(["packed"] if self.packed else [])]
        return f"{' '.join([self.rule, *switches])} of {str(self.dtype).removeprefix('torch.')} at width {self.width}"

    @property
    def computed(self) -> torch.dtype:
        """The type of the state and of all sums."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32


CHECKS: dict[Use, str | None] = {}
"""What was found in this process."""


def result(rule: str) -> str:
    """The rule's checks where it has run, for people to read."""
    found = [f"{use} on {use.device}: {why or 'passed'}" for use, why in CHECKS.items() if use.rule == rule]
    return "; ".join(found) or "not run yet"


def reason(use: Use) -> str | None:
    """Why the rule's kernels must not be used, None if they agree with the reference; found once."""
    if use not in CHECKS:
        with ThreadPoolExecutor(1) as other:  # the caller may be inside no_grad, autocast or vmap: threads are not
            CHECKS[use] = other.submit(examine, use).result()
    return CHECKS[use]


def examine(use: Use) -> str | None:
    """Compare outputs, states and gradients; one line about the first that differs."""
    drawn = draw(use)
    try:
        found = by_kernels(use, drawn)
    except Exception as failure:  # whatever the compiler or the driver raises is the reason
        first_line = f"{type(failure).__name__}: {failure}".split("\n")[0]
        return f"{use} does not run on {use.device}: {first_line}"
    truth, loop = by_reference(use, drawn, torch.float64), by_reference(use, drawn, torch.float32)
    for name, *tensors in zip(names(drawn), found, truth, loop, strict=True):
        error, allowed = compare(use, *tensors)
        if not error <= allowed:  # NaN fails too
            return (
                f"{use} is wrong on {use.device}: {name} differs from the reference by "
                f"{error:.1e} of its size, {allowed:.1e} is rounding"
            )
    return None


def compare(use: Use, found: Tensor, truth: Tensor, loop: Tensor) -> tuple[float, float]:
    """The error of `found`, and what rounding explains: 8 times what it does to the reference, and 64 roundings.

    Both are parts of the largest value. What float32 does to the reference stands for float64 too, in proportion. The
    factors leave room for sums in another order, for the GPU's exponential (2 to 5 units in the last place) and for
    products whose operands keep 22 bits; a wrong kernel is off by percents. What is stored in bfloat16 is rounded once
    more.
    """
    size = truth.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    single, computed, stored = (torch.finfo(dtype).eps for dtype in (torch.float32, use.computed, found.dtype))
    own = float((loop.double() - truth).abs().max() / size) * computed / single
    rounded = stored if stored > computed else 0.0
    return float((found.double().cpu() - truth).abs().max() / size), 8 * own + 64 * computed + rounded


def by_kernels(use: Use, drawn: Arguments) -> list[Tensor]:
    """Results and gradients on the device, inputs in the type that is asked for, slow weights and state computed in."""
    sequences = [None if tensor is None else tensor.to(use.device, use.dtype) for tensor in drawn.sequences]
    slow, state = ([tensor.to(use.device, use.computed) for tensor in part] for part in (drawn.slow, drawn.state))
    leaves = wanting([*sequences, *slow, *state])
    bounds = None if (own := bounds_of(use)) is None else own.to(use.device)
    return with_gradients(use, triton.run(use.rule, *leaves, cu_seqlens=bounds), leaves)


def by_reference(use: Use, drawn: Arguments, dtype: torch.dtype) -> list[Tensor]:
    """The same by the rule's definition on the CPU, packed sequences one after the other."""
    leaves = wanting([None if tensor is None else tensor.to(dtype) for tensor in drawn.flat()])
    return with_gradients(use, RULES[use.rule].results(*leaves, cu_seqlens=bounds_of(use)), leaves)


def wanting(tensors: list[Tensor | None]) -> list[Tensor | None]:
    """Leaves that want gradients."""
    return [None if tensor is None else tensor.detach().requires_grad_() for tensor in tensors]


def with_gradients(use: Use, results: tuple[Tensor, ...], leaves: list[Tensor | None]) -> list[Tensor]:
    """The results, then the gradients of a random functional of them, the same for every form."""
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(tensor.shape, generator=generator).to(use.dtype).to(tensor) for tensor in results]
    gradients = torch.autograd.grad(results, [leaf for leaf in leaves if leaf is not None], cotangents)
    return [tensor.detach() for tensor in (*results, *gradients)]


def names(drawn: Arguments) -> list[str]:
    """What `with_gradients` returns, in words."""
    places = [place for place, tensor in enumerate(drawn.flat()) if tensor is not None]
    ending = [f"final state {state + 1}" for state in range(len(drawn.state))]
    return ["the output", *ending, *(f"the gradient of argument {place + 1}" for place in places)]


def bounds_of(use: Use) -> Tensor | None:
    """Those of two sequences, if it is packed."""
    return torch.tensor([0, POSITIONS // 3, POSITIONS]) if use.packed else None


def draw(use: Use) -> Arguments:
    """Random arguments of the rule, of values that the type asked for can hold, the initial state among them."""
    rule, shape, count = RULES[use.rule], (1, POSITIONS, HEADS, use.width), 2 if use.packed else 1
    every = (
        rule.draw(case, shape, torch.Generator().manual_seed(0), sequences=count) for case in reversed(list(rule.cases))
    )
    drawn = next(each for each in every if rule.given(each.sequences) == use.given)
    sequences = [None if tensor is None else tensor.to(use.dtype).float() for tensor in drawn.sequences]
    return Arguments(sequences, *([tensor.float() for tensor in part] for part in (drawn.slow, drawn.state)))
