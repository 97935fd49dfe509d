"""Random inputs for every rule, as the rules themselves expect them."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fwplab.ops import Scan, Variation, delta, elementwise, linear, recurrent_delta, srwm


@dataclass(frozen=True)
class Case:
    """A rule, how to draw its inputs, which of them run along time, how many leading ones those are, and its module."""

    rule: Callable[..., Scan]
    sequences: int
    draw: Callable[[int, int, int, int, torch.Generator], list[Tensor]]
    module: str


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def _shares(tensor: Tensor) -> Tensor:
    return tensor.softmax(-1)


def _linear(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    return [_normal(b, t, h, d, generator=g) for _ in range(3)]


def _delta(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    query, key, value = _linear(b, t, h, d, g)
    return [_shares(query), _shares(key), value, _normal(b, t, h, generator=g).sigmoid()]


def _gated_delta(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    decay = functional.logsigmoid(_normal(b, t, h, generator=g) + 2)
    decay[:, ::7] = -torch.inf if t > 7 else -1.0  # forgets everything now and then
    return [*_delta(b, t, h, d, g), decay]


def _signed_delta(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    query, key, value = _linear(b, t, h, d, g)
    beta = 2 * _normal(b, t, h, generator=g).sigmoid()
    return [functional.normalize(query, dim=-1), functional.normalize(key, dim=-1), value, beta]


def gated_delta(query: Tensor, key: Tensor, value: Tensor, beta: Tensor, log_decay: Tensor, **options: Any) -> Scan:
    """The gated delta rule with its decay among the sequences."""
    return delta(query, key, value, beta, log_decay=log_decay, **options)


def _recurrent_delta(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    slow = [_normal(h, d, d, generator=g) * d**-0.5 for _ in range(3)] + [_normal(h, d, generator=g) * d**-0.5]
    return [*_linear(b, t, h, d, g), _normal(b, t, h, generator=g), *slow]


def _srwm(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    blocks = [_normal(h, d, n, generator=g) * d**-0.5 for n in (d, d, d, 4)]
    return [_normal(b, t, h, d, generator=g), *blocks]


def _elementwise(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    return [_normal(b, t, h, d, generator=g) for _ in range(2)] + [_normal(h, d, generator=g) for _ in range(2)]


VARIATIONS = {
    "recurrent_delta": {
        "additive_none_double": Variation("additive", "tanh", "none", "double"),
        "raw_sum": Variation("delta", "raw", "sum", "sigmoid"),
        "l2_double": Variation("delta", "tanh", "l2", "double"),
        "raw_fixed": Variation("additive", "raw", "softmax", "fixed"),
    },
    "srwm": {
        "l2_fixed_value_rate": Variation(normalisation="l2", rate="fixed", rewritten=("value", "rate")),
        "additive_value_rate": Variation("additive", rewritten=("value", "rate")),
        "additive_sum_value": Variation("additive", normalisation="sum", rewritten=("value",)),
        "double_all_but_key": Variation(rate="double", rewritten=("value", "query", "rate")),
    },
}
CASES = {
    "linear": Case(linear, 3, _linear, "linear"),
    "delta": Case(delta, 4, _delta, "delta"),
    "gated_delta": Case(gated_delta, 5, _gated_delta, "delta"),
    "signed_delta": Case(delta, 4, _signed_delta, "delta"),
    "recurrent_delta": Case(recurrent_delta, 4, _recurrent_delta, "recurrent_delta"),
    "srwm": Case(srwm, 1, _srwm, "srwm"),
    "elementwise": Case(elementwise, 2, _elementwise, "elementwise"),
}


def _calmer(case: Case) -> Callable[[int, int, int, int, torch.Generator], list[Tensor]]:
    """Slow weights a twentieth as large: some variations amplify a rounding as they do any other difference."""

    def draw(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
        inputs = case.draw(b, t, h, d, g)
        return [*inputs[: case.sequences], *(0.05 * slow for slow in inputs[case.sequences :])]

    return draw


CASES |= {
    f"{rule}_{name}": replace(CASES[rule], rule=partial(CASES[rule].rule, variation=each), draw=_calmer(CASES[rule]))
    for rule, named in VARIATIONS.items()
    for name, each in named.items()
}


def is_varied(name: str) -> bool:
    """Whether a case is a variation of the paper's rule, whose values may grow with the length."""
    return isinstance(CASES[name].rule, partial)


def states(scan: Scan) -> tuple[Tensor, ...]:
    """The state as a tuple, whatever the rule."""
    return scan.state if isinstance(scan.state, tuple) else (scan.state,)


def forms(name: str) -> list[str]:
    """The fast forms of a case's rule that run on a CPU; the Triton kernels have a folder of their own."""
    if is_varied(name):
        return ["cpu"]
    own = importlib.import_module(f"fwplab.ops.{CASES[name].module}").FORMS
    return [form for form in own if form not in {"reference", "triton"}]
