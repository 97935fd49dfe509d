"""`fwplab doctor`: it passes on this machine, it finds a wrong backend, and that backend is no longer used."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fwplab import ops
from fwplab.cli import run as command
from fwplab.ops import doctor
from fwplab.ops.rule import RULES
from fwplab.ops.scan import Scan


@pytest.fixture(autouse=True)
def few_checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One head width and two rules."""
    monkeypatch.setattr(doctor, "WIDTHS", (5,))
    monkeypatch.setattr(doctor, "RULES", {name: RULES[name] for name in ("linear", "srwm")})
    yield
    for rule in RULES.values():
        rule.forms.update(rule.withdrawn)
        rule.withdrawn.clear()


def wrong_by(factor: float) -> Any:
    """The chunkwise form of the linear rule with an output that is wrong by this relative error."""
    right = RULES["linear"].forms["chunk"]

    def wrong(*arguments: Any, **options: Any) -> Scan:
        scan = right(*arguments, **options)
        return Scan(scan.output * (1 + factor), scan.state)

    return wrong


def test_every_backend_passes_in_every_dtype(home: Path) -> None:
    findings = list(doctor.examine())
    expected = {
        (rule.name, backend, dtype)
        for rule in doctor.RULES.values()
        for backend in rule.forms
        for dtype in ("float32", "float64")
        if backend not in ("reference", "triton")
    }
    assert {(each.rule, each.backend, each.dtype) for each in findings} == expected
    assert all(each.problem == "" and 0 < each.error < 1 and each.checks > 10 for each in findings)
    assert not home.exists()


def test_a_wrong_backend_is_found_and_no_longer_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RULES["linear"].forms, "chunk", wrong_by(1e-4))
    assert command(["doctor", "--json"]) == 1
    found = {
        (each["rule"], each["backend"], each["dtype"]): each for each in json.loads(capsys.readouterr().out)["findings"]
    }
    wrong = {name for name, each in found.items() if each["problem"]}
    assert wrong == {("linear", "chunk", "float32"), ("linear", "chunk", "float64")}
    assert "the output is off by" in found["linear", "chunk", "float32"]["problem"]
    assert "chunk" not in RULES["linear"].forms
    assert ops.info()["withdrawn"] == {"linear": ["chunk"]}
    code = "from fwplab import ops; print(ops.info()['withdrawn'], list(ops.RULES['linear'].forms))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("{'linear': ['chunk']} ")
    assert "chunk" not in shown.split("} ")[1]


def test_a_backend_that_raises_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Scan:
        raise RuntimeError("no such instruction\nat 0x1")

    monkeypatch.setitem(RULES["linear"].forms, "chunk", broken)
    first = next(each for each in doctor.examine() if each.backend == "chunk")
    assert first.problem.endswith("does not run: RuntimeError: no such instruction")


def test_findings_are_read_only_for_the_same_machine_and_versions(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert doctor.kept_findings() is None
    findings = [doctor.Finding("linear", "chunk", "float32", 3, 0.5, "")]
    doctor.keep(findings)
    assert doctor.kept_findings() == findings
    monkeypatch.setattr(torch, "__version__", "99")
    assert doctor.kept_findings() is None
    monkeypatch.undo()
    for damaged in ("", "{}", "[]", '{"fingerprint": 3, "findings": 4}', "\x00"):
        (home / doctor.FILE).write_text(damaged)
        assert doctor.kept_findings() is None


def test_the_first_training_checks_the_operators_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FWPLAB_DOCTOR")
    words = ["train", "--language", "parity", "--mixer", "lstm", "--hidden", "8", "--seeds", "1", "--max-steps", "1"]
    small = ["--workers", "1", "--train-strings", "20", "--validation-strings", "10", "--test-strings", "5"]
    for message in ("fwplab: checked the operators once on this machine: all agree with the reference\n", ""):
        assert command([*words, *small, "--json"]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines(True) if "checked" in line]
        assert "".join(lines) == message
