"""Random inputs for every rule, as the rules themselves expect them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fwplab import ops
from fwplab.ops import RULES, Scan, Variation
from fwplab.ops.rule import Rule


@dataclass(frozen=True)
class Case:
    """A rule, how to draw its inputs, which of them run along time, how many leading ones those are, and its module."""

    rule: Callable[..., Scan]
    sequences: int
    draw: Callable[[int, int, int, int, torch.Generator], list[Tensor]]
    module: str


def _case(rule: Rule, name: str) -> Case:
    """A case of a rule as people call it: the sequences that are there, the slow weights, and no state."""
    called = getattr(ops, rule.name)
    given = rule.given(rule.draw(name, (1, 1, 1, 1), torch.Generator()).sequences)
    count = len(rule.sequences) - len(rule.optional) + len(given)

    def draw(b: int, t: int, h: int, d: int, generator: torch.Generator) -> list[Tensor]:
        sequences, slow, state = rule.draw(name, (b, t, h, d), generator, sequences=1)
        first = [tensor[0] for tensor in state] if rule.state_as_weights else []
        return [*(tensor for tensor in sequences if tensor is not None), *slow, *first]

    def run(*inputs: Tensor, **options: Any) -> Scan:
        return called(
            *inputs[: count - len(given)],
            *inputs[count:],
            **dict(zip(given, inputs[count - len(given) : count], strict=True)),
            **options,
        )

    return Case(run if given else called, count, draw, rule.name)


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
CASES = {name: _case(rule, name) for rule in RULES.values() for name in rule.cases if rule.derived_from is None}


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
    return [form for form in RULES[CASES[name].module].forms if form not in {"reference", "triton"}]


COMPILED = [name for name in CASES if "cpu" in forms(name)]
"""The cases of the rules that have CPU kernels."""
