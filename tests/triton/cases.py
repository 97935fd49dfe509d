"""Random arguments for every rule, with an initial state, and the reference for packed sequences."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from fwplab.ops import triton

DEVICE = "cuda" if torch.cuda.is_available() and not triton.interpreted() else "cpu"
"""Where the kernels run: compiled for the GPU where there is one, else in the interpreter."""

Arguments = list[Tensor | None]
Rule = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Case:
    """A rule, how many of its arguments run along time, how many at the end are the state, and how to draw them."""

    rule: str
    sequences: int
    states: int
    draw: Callable[..., Arguments]


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def draw_linear(b: int, t: int, h: int, d: int, n: int, g: torch.Generator, values: int | None = None) -> Arguments:
    rows = [normal(b, t, h, width, generator=g) for width in (d, d, values or d)]
    return [*rows, normal(n, h, d, values or d, generator=g)]


def draw_delta(b: int, t: int, h: int, d: int, n: int, g: torch.Generator, values: int | None = None) -> Arguments:
    query, key, value, state = draw_linear(b, t, h, d, n, g, values)
    return [query.softmax(-1), key.softmax(-1), value, normal(b, t, h, generator=g).sigmoid(), None, state]


def draw_signed(b: int, t: int, h: int, d: int, n: int, g: torch.Generator, values: int | None = None) -> Arguments:
    query, key, value, beta, _, state = draw_delta(b, t, h, d, n, g, values)
    return [normal(*query.shape, generator=g), functional.normalize(key - 0.5, dim=-1), value, 2 * beta, None, state]


def draw_gated(b: int, t: int, h: int, d: int, n: int, g: torch.Generator, values: int | None = None) -> Arguments:
    query, key, value, beta, _, state = draw_signed(b, t, h, d, n, g, values)
    decay = -normal(b, t, h, generator=g).abs()
    decay[:, 3::7] = -torch.inf  # forgets everything now and then, also twice in a chunk
    return [query, key, value, beta, decay, state]


def draw_recurrent_delta(b: int, t: int, h: int, d: int, n: int, g: torch.Generator) -> Arguments:
    *rows, weight = draw_linear(b, t, h, d, n, g)
    slow = [normal(h, d, d, generator=g) * d**-0.5 for _ in range(3)] + [normal(h, d, generator=g) * d**-0.5]
    return [*rows, normal(b, t, h, generator=g), *slow, weight, normal(n, h, d, generator=g)]


def draw_srwm(b: int, t: int, h: int, d: int, n: int, g: torch.Generator) -> Arguments:
    blocks = [normal(n, h, d, columns, generator=g) * d**-0.5 for columns in (d, d, d, 4)]
    return [normal(b, t, h, d, generator=g), *blocks]


def draw_elementwise(b: int, t: int, h: int, d: int, n: int, g: torch.Generator) -> Arguments:
    weights = [normal(h, d, generator=g) / 2 for _ in range(2)]  # stronger ones are chaotic
    return [*(normal(b, t, h, d, generator=g) for _ in range(2)), *weights, normal(n, h, d, generator=g)]


CASES = {
    "linear": Case("linear", 3, 1, draw_linear),
    "delta": Case("delta", 5, 1, draw_delta),
    "signed_delta": Case("delta", 5, 1, draw_signed),
    "gated_delta": Case("delta", 5, 1, draw_gated),
    "recurrent_delta": Case("recurrent_delta", 4, 2, draw_recurrent_delta),
    "srwm": Case("srwm", 1, 4, draw_srwm),
    "elementwise": Case("elementwise", 2, 1, draw_elementwise),
}


def draw(name: str, *shape: int, sequences: int | None = None, seed: int = 0, **options: int) -> Arguments:
    """Float64 arguments for `[batch, time, heads, d]`; `sequences` states, by default one a batch."""
    generator = torch.Generator().manual_seed(seed)
    drawn = CASES[name].draw(*shape, sequences or shape[0], generator, **options)
    return [None if tensor is None else tensor.to(DEVICE) for tensor in drawn]


def kernel(name: str, bounds: Tensor | None = None) -> Rule:
    """The rule by its Triton kernels."""

    def run(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        return tuple(getattr(triton, CASES[name].rule)(*arguments, bounds))

    return run


def reference(name: str, bounds: Tensor | None = None) -> Rule:
    """The rule's definition, packed sequences one after the other."""
    case = CASES[name]
    definition = importlib.import_module(f"fwplab.ops.{case.rule}").reference

    def flat(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        output, state = definition(*arguments)
        return (output, *(state if isinstance(state, tuple) else (state,)))

    def packed(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        assert bounds is not None
        rows, rest = arguments[: case.sequences], arguments[case.sequences : len(arguments) - case.states]
        states, parts = arguments[len(arguments) - case.states :], []
        for index, (start, end) in enumerate(pairwise(bounds.tolist())):
            own = (None if row is None else row[:, start:end] for row in rows)
            parts.append(flat(*own, *rest, *(state[index : index + 1] for state in states if state is not None)))
        outputs, *lasts = zip(*parts, strict=True)
        return (torch.cat(outputs, dim=1), *(torch.cat(last) for last in lasts))

    return flat if bounds is None else packed


def run_with_gradients(rule: Rule, arguments: Arguments, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The results and the gradients of a random functional of them, for arguments in `dtype`."""
    leaves = [None if a is None else a.detach().to(dtype).requires_grad_() for a in arguments]
    results = rule(*leaves)
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(r.shape, dtype=torch.float64, generator=generator).to(dtype).to(r) for r in results]
    moving = [(result, c) for result, c in zip(results, cotangents, strict=True) if result.requires_grad]
    wanted = [leaf for leaf in leaves if leaf is not None]
    gradients = torch.autograd.grad(
        [result for result, _ in moving], wanted, [c for _, c in moving], allow_unused=True, materialize_grads=True
    )
    return [tensor.detach() for tensor in (*results, *gradients)]


def worst(left: list[Tensor], right: list[Tensor]) -> float:
    """Largest error relative to the largest value, over all tensors; NaN if there is one."""
    assert [tensor.shape for tensor in left] == [tensor.shape for tensor in right]
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(left, right, strict=True) if b.numel()]
    errors = torch.stack([(a - b).abs().max() / b.abs().max().clamp(min=1e-30) for a, b in pairs])
    return float("nan") if bool(errors.isnan().any()) else float(errors.max())
