"""Random arguments for every rule with Triton kernels, and the reference for packed sequences."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fwplab.ops import RULES, triton

DEVICE = "cuda" if torch.cuda.is_available() and not triton.interpreted() else "cpu"
"""Where the kernels run: compiled on a GPU if there is one, otherwise in Triton's interpreter."""

Arguments = list[Tensor | None]
Rule = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """A rule to test.

    Fields:
    - rule: its name.
    - sequences: how many of the leading arguments have a time dimension.
    - states: how many of the last arguments are the initial state.
    """

    rule: str
    sequences: int
    states: int


CASES = {
    case: Case(name, len(RULES[name].sequences), len(RULES[name].state))
    for name in triton.rules()
    for case in RULES[name].cases
}


def draw(name: str, *shape: int, sequences: int | None = None, seed: int = 0, **sizes: int) -> Arguments:
    """Float64 arguments of a shape `batch, time, heads, d`, with `sequences` initial states (default: `batch`)."""
    batch, time, heads, d = shape
    generator = torch.Generator().manual_seed(seed)
    rule = RULES[CASES[name].rule]
    drawn = rule.draw(name, (batch, time, heads, d), generator, sequences=sequences, **sizes).flat()
    return [None if tensor is None else tensor.to(DEVICE) for tensor in drawn]


def kernel(name: str, bounds: Tensor | None = None) -> Rule:
    """The rule computed by its Triton kernels."""

    def run(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        return triton.run(CASES[name].rule, *arguments, cu_seqlens=bounds)

    return run


def reference(name: str, bounds: Tensor | None = None) -> Rule:
    """The rule computed by its reference, one packed sequence after the other."""
    return partial(RULES[CASES[name].rule].results, cu_seqlens=bounds)


def run_with_gradients(rule: Rule, arguments: Arguments, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The results and the gradients of a random linear function of them, computed in `dtype`."""
    leaves = [None if a is None else a.detach().to(dtype).requires_grad_() for a in arguments]
    results = rule(*leaves)
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(r.shape, dtype=torch.float64, generator=generator).to(dtype).to(r) for r in results]
    moving = [(result, c) for result, c in zip(results, cotangents, strict=True) if result.requires_grad]
    inputs = [leaf for leaf in leaves if leaf is not None]
    gradients = torch.autograd.grad(
        [result for result, _ in moving], inputs, [c for _, c in moving], allow_unused=True, materialize_grads=True
    )
    return [tensor.detach() for tensor in (*results, *gradients)]


def largest_error(left: list[Tensor], right: list[Tensor]) -> float:
    """The largest error over all tensors, relative to the largest value of each; NaN if any value is NaN."""
    assert [tensor.shape for tensor in left] == [tensor.shape for tensor in right]
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(left, right, strict=True) if b.numel()]
    errors = torch.stack([(a - b).abs().max() / b.abs().max().clamp(min=1e-30) for a, b in pairs])
    return float("nan") if bool(errors.isnan().any()) else float(errors.max())
