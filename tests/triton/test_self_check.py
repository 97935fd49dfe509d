"""The check before first use: it passes where the kernels are right, and says what is wrong where they are not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fwplab.ops import triton
from fwplab.ops.triton import self_check


@pytest.fixture(autouse=True)
def small_and_forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is slow; nothing found here stays."""
    monkeypatch.setattr(self_check, "POSITIONS", 5)
    monkeypatch.setattr(self_check, "WIDTHS", (3,))
    monkeypatch.setattr(self_check, "CHECKS", {})


@pytest.mark.parametrize("rule", triton.RULES)
def test_right_kernels_pass(rule: str) -> None:
    assert triton.info()["checks"][rule] == "not run yet"
    assert triton.checked(rule) is None
    assert triton.info()["checks"][rule].endswith(": passed")


Broken = Callable[[Callable[..., tuple[Tensor, ...]]], Callable[..., tuple[Tensor, ...]]]


def slightly_wrong(rule: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    def run(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        output, state = rule(*arguments)
        return output * 1.0001, state

    return run


def wrong_gradient(rule: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    def run(query: Tensor, key: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        return rule(query, 1.01 * key - 0.01 * key.detach(), *rest)

    return run


def not_a_number(rule: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    def run(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        output, state = rule(*arguments)
        return output, state * torch.nan

    return run


def does_not_compile(rule: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    def run(*arguments: Tensor | None) -> tuple[Tensor, ...]:
        raise RuntimeError("out of resource: registers\nand a long trace")

    return run


@pytest.mark.parametrize(
    ("breaks", "finding"),
    [
        (slightly_wrong, "is wrong on cpu: the output differs"),
        (wrong_gradient, "is wrong on cpu: the gradient of argument 2 differs"),
        (not_a_number, "is wrong on cpu: final state 1 differs"),
        (does_not_compile, "does not run on cpu: RuntimeError: out of resource: registers"),
    ],
)
def test_broken_kernels_are_found_and_named(breaks: Broken, finding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "delta", breaks(triton.delta))
    reason = triton.checked("delta")
    assert reason is not None
    assert reason.startswith("delta at width 3 ")
    assert finding in reason
    assert "\n" not in reason
    assert triton.info()["checks"]["delta"] == f"cpu: {reason}"


def test_runs_once_and_inside_no_grad_and_vmap(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(x: Tensor) -> Tensor:
        assert triton.checked("linear") is None
        return x

    with torch.no_grad():
        torch.func.vmap(rule)(torch.zeros(2, 3))
    monkeypatch.setattr(self_check, "examine", lambda rule, device: "examined again")
    assert triton.checked("linear") is None
