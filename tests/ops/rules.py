"""Random inputs for every rule, drawn by the rule's own description."""

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
    """A rule to test.

    Fields:
    - rule: the public function.
    - sequences: how many of the leading inputs have a time dimension.
    - draw: draws inputs for `batch, time, heads, width, generator`.
    - module: the name of the rule and of its file.
    """

    rule: Callable[..., Scan]
    sequences: int
    draw: Callable[[int, int, int, int, torch.Generator], list[Tensor]]
    module: str


def _case(rule: Rule, name: str) -> Case:
    """A case that calls the public function: the sequences that are not None, the slow weights, and no state."""
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


def _with_small_weights(case: Case) -> Callable[[int, int, int, int, torch.Generator], list[Tensor]]:
    """Inputs with slow weights divided by 20, because some variations amplify rounding errors."""

    def draw(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
        inputs = case.draw(b, t, h, d, g)
        return [*inputs[: case.sequences], *(0.05 * slow for slow in inputs[case.sequences :])]

    return draw


CASES |= {
    f"{rule}_{name}": replace(
        CASES[rule], rule=partial(CASES[rule].rule, variation=each), draw=_with_small_weights(CASES[rule])
    )
    for rule, named in VARIATIONS.items()
    for name, each in named.items()
}


def is_varied(name: str) -> bool:
    """Whether a case is a variation of the paper's rule. The values of a variation may grow with the length."""
    return isinstance(CASES[name].rule, partial)


def states(scan: Scan) -> tuple[Tensor, ...]:
    """The state of any rule as a tuple."""
    return scan.state if isinstance(scan.state, tuple) else (scan.state,)


def forms(name: str) -> list[str]:
    """The fast forms of a case's rule that run on a CPU. Triton kernels are tested in tests/triton."""
    if is_varied(name):
        return ["cpu"]
    return [form for form in RULES[CASES[name].module].forms if form not in {"reference", "triton"}]


COMPILED = [name for name in CASES if "cpu" in forms(name)]
"""The cases of the rules that have CPU kernels."""
