"""Compares the kernels of a rule with its reference on this GPU, before they are used.

Kernels that are right on one chip have given wrong results on another without an error
(fla-org/flash-linear-attention, issues 640 and 984: gradients on Hopper). A test on another machine is not enough.
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
    """A use of a rule that needs its own machine code.

    - rule: the name of the rule.
    - device: the device.
    - dtype: the data type of the inputs.
    - width: the width of a head.
    - given: the optional arguments that are used.
    - packed: whether the batch is packed.
    """

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
        """The data type of the state and of all sums."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32


CHECKS: dict[Use, str | None] = {}
"""The results of all checks in this process: None if the kernels passed, otherwise the reason."""


def result(rule: str) -> str:
    """The results of a rule's checks as text."""
    found = [f"{use} on {use.device}: {why or 'passed'}" for use, why in CHECKS.items() if use.rule == rule]
    return "; ".join(found) or "not run yet"


def reason(use: Use) -> str | None:
    """Why the kernels must not be used; None if they agree with the reference. Each use is checked once."""
    if use not in CHECKS:
        with ThreadPoolExecutor(1) as other:  # no_grad, autocast and vmap of the caller do not apply in a new thread
            CHECKS[use] = other.submit(examine, use).result()
    return CHECKS[use]


def examine(use: Use) -> str | None:
    """Compares outputs, states and gradients. Returns one line about the first difference; None if there is none."""
    drawn = draw(use)
    try:
        found = by_kernels(use, drawn)
    except Exception as failure:  # the compiler and the driver raise many types of error
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
    """The error of `found` and the largest allowed error, both relative to the largest value.

    Allowed are 8 times the reference's own rounding error and 64 roundings. The rounding error of the reference is
    measured in float32, and scaled for float64. The factors allow for another order of summation, for the GPU's
    exponential (2 to 5 units in the last place) and for products whose operands keep 22 bits. The error of a wrong
    kernel is some percent. A result that is stored in bfloat16 is rounded once more.
    """
    size = truth.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    single, computed, stored = (torch.finfo(dtype).eps for dtype in (torch.float32, use.computed, found.dtype))
    own = float((loop.double() - truth).abs().max() / size) * computed / single
    rounded = stored if stored > computed else 0.0
    return float((found.double().cpu() - truth).abs().max() / size), 8 * own + 64 * computed + rounded


def by_kernels(use: Use, drawn: Arguments) -> list[Tensor]:
    """Results and gradients of the kernels. Inputs have the type of the use; weights and states the computed type."""
    sequences = [None if tensor is None else tensor.to(use.device, use.dtype) for tensor in drawn.sequences]
    slow, state = ([tensor.to(use.device, use.computed) for tensor in part] for part in (drawn.slow, drawn.state))
    leaves = require_gradients([*sequences, *slow, *state])
    bounds = None if (own := bounds_of(use)) is None else own.to(use.device)
    return with_gradients(use, triton.run(use.rule, *leaves, cu_seqlens=bounds), leaves)


def by_reference(use: Use, drawn: Arguments, dtype: torch.dtype) -> list[Tensor]:
    """The same results by the definition of the rule on the CPU, one packed sequence after the other."""
    leaves = require_gradients([None if tensor is None else tensor.to(dtype) for tensor in drawn.flat()])
    return with_gradients(use, RULES[use.rule].results(*leaves, cu_seqlens=bounds_of(use)), leaves)


def require_gradients(tensors: list[Tensor | None]) -> list[Tensor | None]:
    """Leaf tensors that require gradients."""
    return [None if tensor is None else tensor.detach().requires_grad_() for tensor in tensors]


def with_gradients(use: Use, results: tuple[Tensor, ...], leaves: list[Tensor | None]) -> list[Tensor]:
    """The results, then the gradients of a random linear function of them, which is the same for every form."""
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(tensor.shape, generator=generator).to(use.dtype).to(tensor) for tensor in results]
    gradients = torch.autograd.grad(results, [leaf for leaf in leaves if leaf is not None], cotangents)
    return [tensor.detach() for tensor in (*results, *gradients)]


def names(drawn: Arguments) -> list[str]:
    """The names of the tensors that `with_gradients` returns, for messages."""
    places = [place for place, tensor in enumerate(drawn.flat()) if tensor is not None]
    ending = [f"final state {state + 1}" for state in range(len(drawn.state))]
    return ["the output", *ending, *(f"the gradient of argument {place + 1}" for place in places)]


def bounds_of(use: Use) -> Tensor | None:
    """The bounds of two packed sequences; None if the use is not packed."""
    return torch.tensor([0, POSITIONS // 3, POSITIONS]) if use.packed else None


def draw(use: Use) -> Arguments:
    """Random arguments of the rule with an initial state, rounded to the data type of the use."""
    rule, shape, count = RULES[use.rule], (1, POSITIONS, HEADS, use.width), 2 if use.packed else 1
    every = (
        rule.draw(case, shape, torch.Generator().manual_seed(0), sequences=count) for case in reversed(list(rule.cases))
    )
    drawn = next(each for each in every if rule.given(each.sequences) == use.given)
    sequences = [None if tensor is None else tensor.to(use.dtype).float() for tensor in drawn.sequences]
    return Arguments(sequences, *([tensor.float() for tensor in part] for part in (drawn.slow, drawn.state)))
