"""Nothing is read or written outside the tensors by any rule, forward and backward."""

import json
import os
import subprocess
import sys

import pytest
from tests.ops.guarded import SIDES, WIDTHS
from tests.ops.rules import CASES

RULES = (*CASES, "delta_product")


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
