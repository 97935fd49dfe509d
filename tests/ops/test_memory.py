"""Kernels access no memory outside their tensors, and keep the tensors alive whose addresses they use."""

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
def outcomes() -> dict[tuple[str, str, int], str]:
    """The outcome of each rule on guarded memory, by side and width."""
    code = [sys.executable, "-m", "tests.ops.guarded"]
    ran = subprocess.run(code, check=False, timeout=300, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    print(ran.stderr)
    return {(name, side, width): outcome for name, side, width, outcome in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", RULES)
def test_kernels_access_no_memory_outside_their_tensors(
    name: str, side: str, outcomes: dict[tuple[str, str, int], str]
) -> None:
    assert {width: outcomes[name, side, width] for width in WIDTHS} == dict.fromkeys(WIDTHS, "ok")


def test_a_problem_keeps_its_arrays_alive() -> None:
    query, bounds = torch.zeros(1, 8, 2, 4), torch.tensor([0, 2, 7, 8])
    problem = kernels.plan(query, 16, bounds).problem(query)
    taken = [torch.full((3,), -1) for _ in range(64)]  # would reuse the memory of arrays that were freed
    pointers = (problem.longest_first, problem.starts, problem.lengths)
    assert [list((ctypes.c_int64 * 3).from_address(at)) for at in pointers] == [[1, 0, 2], [0, 2, 7], [2, 5, 1]]
    assert len(taken) == 64


@pytest.mark.parametrize("place", [kernels.sequence, kernels.weight, kernels.state, elementwise.place])
def test_a_strided_pointer_keeps_its_tensor_alive(place: Callable[[Tensor], kernels.Place]) -> None:
    strided = place(torch.full((2, 3, 4), 7.0))
    taken = [torch.zeros(2, 3, 4) for _ in range(64)]
    assert list((ctypes.c_float * 24).from_address(strided.data)) == [7.0] * 24
    assert len(taken) == 64
