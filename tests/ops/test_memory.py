"""Nothing is read or written outside the tensors, and what is described to the library lives as long as it is used."""

import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from tests.ops.guarded import SIDES, WIDTHS
from tests.ops.rules import COMPILED
from torch import Tensor

from fwplab.ops.cpu import kernels

elementwise = importlib.import_module("fwplab.ops.cpu.elementwise")
RULES = (*COMPILED, "delta_product")


@pytest.fixture(scope="module")
def endings() -> dict[tuple[str, str, int], str]:
    """How each rule ended on guarded memory, by side and width."""
    code = [sys.executable, "-m", "tests.ops.guarded"]
    ran = subprocess.run(code, check=False, timeout=300, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    print(ran.stderr)
    return {(name, side, width): ended for name, side, width, ended in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", RULES)
def test_nothing_outside_the_tensors_is_touched(name: str, side: str, endings: dict[tuple[str, str, int], str]) -> None:
    assert {width: endings[name, side, width] for width in WIDTHS} == dict.fromkeys(WIDTHS, "ok")


def test_a_problem_keeps_what_it_points_to() -> None:
    query, bounds = torch.zeros(1, 8, 2, 4), torch.tensor([0, 2, 7, 8])
    problem = kernels.plan(query, 16, bounds).problem(query)
    taken = [torch.full((3,), -1) for _ in range(64)]  # would take the place of what nobody keeps
    pointers = (problem.longest_first, problem.starts, problem.lengths)
    assert [list((ctypes.c_int64 * 3).from_address(at)) for at in pointers] == [[1, 0, 2], [0, 2, 7], [2, 5, 1]]
    assert len(taken) == 64


@pytest.mark.parametrize("place", [kernels.sequence, kernels.weight, kernels.state, elementwise.place])
def test_a_place_keeps_its_tensor(place: Callable[[Tensor], kernels.Place]) -> None:
    strided = place(torch.full((2, 3, 4), 7.0))
    taken = [torch.zeros(2, 3, 4) for _ in range(64)]
    assert list((ctypes.c_float * 24).from_address(strided.data)) == [7.0] * 24
    assert len(taken) == 64
