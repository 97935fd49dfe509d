"""The check of the Triton kernels before their first use: right kernels pass, and errors in wrong ones are named."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from tests.triton.cases import DEVICE
from torch import Tensor

from fwplab import ops
from fwplab.errors import UserError
from fwplab.ops import triton
from fwplab.ops.triton import self_check

WHERE = "cuda:0" if DEVICE == "cuda" else "cpu"


@pytest.fixture(autouse=True)
def short_checks_without_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few positions, because the interpreter is slow, and no findings of other tests."""
    monkeypatch.setattr(self_check, "POSITIONS", 5)
    monkeypatch.setattr(self_check, "CHECKS", {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["batch", "packed"])
@pytest.mark.parametrize("rule", [*triton.rules(), "gated_delta"])
def test_right_kernels_pass(rule: str, packed: bool, dtype: torch.dtype) -> None:
    name, given = rule.removeprefix("gated_"), ("log_decay",) if rule.startswith("gated") else ()
    assert triton.info()["checks"][name] == "not run yet"
    assert triton.checked(name, dtype=dtype, width=3, given=given, packed=packed) is None
    assert triton.info()["checks"][name].endswith(f"at width 3 on {WHERE}: passed")


def test_the_check_covers_the_arguments_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[self_check.Use] = []
    monkeypatch.setattr(self_check, "examine", lambda use: checked.append(use) or "no")
    rows = [torch.zeros(1, 4, 1, 5, dtype=torch.float64, device=DEVICE) for _ in range(3)]
    strength = torch.zeros(1, 4, 1, dtype=torch.float64, device=DEVICE)
    for options in ({}, {"log_decay": strength}, {"cu_seqlens": torch.tensor([0, 4])}):
        with pytest.raises(UserError, match="no; choose from: auto, reference"):
            ops.delta(*rows, strength, backend="triton", **options)
    assert [(use.given, use.packed) for use in checked] == [((), False), (("log_decay",), False), ((), True)]
    assert {(use.rule, use.dtype, use.width) for use in checked} == {("delta", torch.float64, 5)}


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
        (slightly_wrong, f"is wrong on {WHERE}: the output differs"),
        (wrong_gradient, f"is wrong on {WHERE}: the gradient of argument 2 differs"),
        (not_a_number, f"is wrong on {WHERE}: final state 1 differs"),
        (does_not_compile, f"does not run on {WHERE}: RuntimeError: out of resource: registers"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_broken_kernels_are_found_and_named(
    dtype: torch.dtype, breaks: Broken, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = breaks(partial(triton.run, "delta"))
    monkeypatch.setattr(triton, "run", lambda _, *arguments, cu_seqlens: broken(*arguments))
    reason = triton.checked("delta", dtype=dtype, width=3)
    assert reason is not None
    assert reason.startswith(f"delta of {str(dtype).removeprefix('torch.')} at width 3 ")
    assert finding in reason
    assert "\n" not in reason
    assert triton.info()["checks"]["delta"].endswith(f"on {WHERE}: {reason}")


def test_the_check_runs_once_also_inside_no_grad_and_vmap(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(x: Tensor) -> Tensor:
        assert triton.checked("linear") is None
        return x

    with torch.no_grad():
        torch.func.vmap(rule)(torch.zeros(2, 3))
    monkeypatch.setattr(self_check, "examine", lambda use: "examined again")
    assert triton.checked("linear") is None
