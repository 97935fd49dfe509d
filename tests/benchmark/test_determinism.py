"""The comparison of trainings: what must have the same bits has them, and a difference is found."""

import json

import pytest
import torch

from fwplab.benchmark import determinism
from fwplab.benchmark.determinism import Condition, compare
from fwplab.cli import run as command
from fwplab.errors import WorkError


def test_repeated_and_continued_trainings_have_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [each for each in determinism.conditions() if each.name in determinism.SAME_BITS or each.alone]
    monkeypatch.setattr(determinism, "conditions", lambda: chosen)
    monkeypatch.setattr(determinism, "compare", lambda: compare(("delta-net", "lstm"), 10))
    assert command(["doctor", "--training", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["agreements"]
    assert [each["condition"] for each in found] == [each.name for each in chosen for _ in range(2)]
    assert all(each["equal_bits"] for each in found if each["condition"] in determinism.SAME_BITS)
    assert all(each["difference"] < 1e-3 for each in found)


def test_other_weights_are_found() -> None:
    one = {"0/a": torch.tensor([1.0, -4.0])}, {"0": [0.5]}
    two = {"0/a": torch.tensor([1.0, -3.0])}, {"0": [0.75]}
    found = determinism._agreement("lstm", "two threads", one, two)
    assert (found.equal_bits, found.difference, found.equal_scores) == (False, 0.25, False)


def test_a_failing_training_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism, "conditions", lambda: [Condition("no such kernels", kernels="v99")])
    with pytest.raises(WorkError, match=r"no such kernels failed: .*v99"):
        list(compare(("delta-net",), 5))


def test_trainings_are_compared_on_the_cpu_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["doctor", "--training", "--device", "cuda"]) == 2
    assert "choose --device cpu" in capsys.readouterr().err
