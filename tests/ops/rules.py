"""Random inputs for every rule, as the rules themselves expect them."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from fwplab.ops import Scan, delta, elementwise, linear, recurrent_delta, srwm


@dataclass(frozen=True)
class Case:
    """A rule, how to draw its inputs, which of them run along time, and how many leading ones those are."""

    rule: Callable[..., Scan]
    sequences: int
    draw: Callable[[int, int, int, int, torch.Generator], list[Tensor]]


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def _shares(tensor: Tensor) -> Tensor:
    return tensor.softmax(-1)


def _linear(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    return [_normal(b, t, h, d, generator=g) for _ in range(3)]


def _delta(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    query, key, value = _linear(b, t, h, d, g)
    return [_shares(query), _shares(key), value, _normal(b, t, h, generator=g).sigmoid()]


def _recurrent_delta(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    slow = [_normal(h, d, d, generator=g) * d**-0.5 for _ in range(3)] + [_normal(h, d, generator=g) * d**-0.5]
    return [*_linear(b, t, h, d, g), _normal(b, t, h, generator=g), *slow]


def _srwm(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    blocks = [_normal(h, d, n, generator=g) * d**-0.5 for n in (d, d, d, 4)]
    return [_normal(b, t, h, d, generator=g), *blocks]


def _elementwise(b: int, t: int, h: int, d: int, g: torch.Generator) -> list[Tensor]:
    return [_normal(b, t, h, d, generator=g) for _ in range(2)] + [_normal(h, d, generator=g) for _ in range(2)]


CASES = {
    "linear": Case(linear, 3, _linear),
    "delta": Case(delta, 4, _delta),
    "recurrent_delta": Case(recurrent_delta, 4, _recurrent_delta),
    "srwm": Case(srwm, 1, _srwm),
    "elementwise": Case(elementwise, 2, _elementwise),
}


def states(scan: Scan) -> tuple[Tensor, ...]:
    """The state as a tuple, whatever the rule."""
    return scan.state if isinstance(scan.state, tuple) else (scan.state,)


def forms(module: ModuleType) -> list[str]:
    """The fast forms of a rule."""
    return [name for name in module.FORMS if name != "reference"]
