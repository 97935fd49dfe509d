"""The speed of reading one long sequence in pieces, with the state carried over."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fwplab.benchmark import clock
from fwplab.benchmark.operators import Case, check, draw
from fwplab.ops import RULES, Scan

PIECE = 1000
"""The number of positions in a piece; with pieces, the memory does not grow with the length."""
LOOP_LENGTH = 2000
"""The length for the tuned loop, whose speed does not depend on the length."""


@dataclass(frozen=True)
class Stream:
    """The speed for one sequence of one head, forward only, on one thread."""

    operator: str
    """The operator."""
    width: int
    """The width of the head."""
    length: int
    """The length of the sequence."""
    backend: str
    """The implementation that is measured."""
    tokens_per_second: float = math.nan
    """The number of positions a second."""
    ratio_tuned_loop: float = math.nan
    """The same, relative to the tuned PyTorch loop."""
    error: str | None = None
    """Why there is no speed."""


def measure(case: Case, lengths: tuple[int, ...], rounds: int = 3, backend: str = "auto") -> list[Stream]:
    """Measures one case at several lengths; each speed is the median of the rounds."""
    name = case.backend(backend)
    wrong = check(case, name)
    if wrong:
        return [Stream(case.operator, case.width, length, name, error=wrong) for length in lengths]
    inputs = draw(case, 1, PIECE)
    tuned = "loop" if "loop" in case.forms else "reference"
    with clock.on_threads(1), torch.no_grad():
        loop = max(speed(case, case.forms[tuned], inputs, LOOP_LENGTH) for _ in range(rounds))
        rows = []
        for length in lengths:
            speeds = sorted(speed(case, case.forms[name], inputs, length) for _ in range(rounds))
            middle = speeds[rounds // 2]
            rows.append(Stream(case.operator, case.width, length, name, middle, middle / loop))
    return rows


def speed(case: Case, form: Callable[..., Scan], inputs: list[Tensor | None], length: int) -> float:
    """The number of tokens a second over `length` positions."""
    count, states = len(RULES[case.rule].sequences), len(RULES[case.rule].state)
    state, slow = tuple(inputs[-states:]), inputs[count:-states]
    start = time.perf_counter()
    for first in range(0, length, PIECE):
        piece = [None if tensor is None else tensor[:, : length - first] for tensor in inputs[:count]]
        scan = form(*piece, *slow, *state)
        state = scan.state if isinstance(scan.state, tuple) else (scan.state,)
    return length / (time.perf_counter() - start)
