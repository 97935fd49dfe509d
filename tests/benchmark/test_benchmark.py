"""The benchmark: it reports all its numbers, but no speed of a wrong form. No test depends on the machine's speed."""

import json
import math
from pathlib import Path

import pytest
import torch

from fwplab.benchmark import clock, operators, streaming, suite, training
from fwplab.benchmark.operators import CASES, Case
from fwplab.cli import run
from fwplab.ops import RULES, Scan

SMALL = suite.Suite((Case("delta", 2, 4),), 1, (Case("delta", 1, 4),), (30,), (), (), ())


@pytest.mark.parametrize("operator", dict.fromkeys(case.operator for case in CASES if "published" in case.forms))
def test_the_published_loops_agree_with_the_reference(operator: str) -> None:
    assert operators.check(Case(operator, 2, 5), "published") is None


@pytest.mark.parametrize("operator", ["linear", "recurrent_delta", "elementwise"])
def test_a_row_has_all_its_ratios(operator: str) -> None:
    (row,) = operators.measure(Case(operator, 2, 4), batch=64, length=20, rounds=1)
    assert row.error is None
    assert min(row.seconds, row.ratio_published_loop, row.ratio_tuned_loop, row.ratio_lstm) > 0
    assert math.isnan(row.ratio_chunk) == (operator != "linear")
    assert math.isnan(row.peak_fraction) == (operator == "elementwise")
    assert 0 <= row.saved_fraction < 1
    assert row.traffic_bytes > 0
    assert row.roof_fraction > 0


def make_wrong(monkeypatch: pytest.MonkeyPatch, wrong_part: str) -> None:
    """Scales the output or a gradient of the compiled delta rule by 1.001."""
    forms = RULES["delta"].forms
    compiled = forms["cpu"]

    def wrong(query: torch.Tensor, *arguments: torch.Tensor) -> Scan:
        if wrong_part == "gradient":
            query = query + 1e-3 * (query - query.detach())
        scan = compiled(query, *arguments)
        return scan._replace(output=1.001 * scan.output) if wrong_part == "output" else scan

    monkeypatch.setitem(forms, "cpu", wrong)


@pytest.mark.parametrize("wrong_part", ["output", "gradient"])
def test_no_speed_is_reported_for_a_wrong_form(monkeypatch: pytest.MonkeyPatch, wrong_part: str) -> None:
    make_wrong(monkeypatch, wrong_part)
    (row,) = operators.measure(Case("delta", 2, 4), batch=3, length=5, rounds=1)
    assert "differs from the reference" in (row.error or "")
    assert math.isnan(row.seconds)
    assert math.isnan(row.ratio_published_loop)
    (stream,) = streaming.measure(Case("delta", 1, 4), (20,), rounds=1)
    assert stream.error == row.error
    assert math.isnan(stream.tokens_per_second)


def test_the_command_writes_and_shows_every_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "QUICK", SMALL)
    file = tmp_path / "bench.json"
    assert run(["bench", "--quick", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    (row,) = report["rows"]
    assert {"operator", "heads", "width", "ratio_published_loop", "ratio_tuned_loop", "peak_fraction"} <= set(row)
    assert (row["operator"], row["heads"], row["width"], row["batch"], row["length"]) == ("delta", 2, 4, 64, 100)
    assert report["streaming"][0]["length"] == 30
    assert report["machine"]["kernels"]["auto"]["delta"] == "cpu"
    table = capsys.readouterr().out
    assert f"{row['ratio_published_loop']:.1f}x" in table
    assert f"{100 * row['peak_fraction']:.1f} %" in table
    assert run(["bench", "--show", str(file)]) == 0
    assert capsys.readouterr().out == table
    file.write_text("{}")
    assert run(["bench", "--show", str(file)]) == 2
    assert "is no file that fwplab bench --json wrote" in capsys.readouterr().err


def test_several_runs_are_shown_as_their_medians(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "QUICK", SMALL)
    files = [tmp_path / f"{number}.json" for number in range(3)]
    assert run(["bench", "--quick", "--json", str(files[0])]) == 0
    report = json.loads(files[0].read_text())
    for file, ratio, peak in zip(files, (50.0, 30.0, 99.0), (7e10, 6e10, 8e10), strict=True):
        report["rows"][0]["ratio_published_loop"] = ratio
        report["machine"]["peak_multiply_adds_per_second"] = peak
        file.write_text(json.dumps(report))
    capsys.readouterr()
    assert run(["bench", "--show", *map(str, files)]) == 0
    table = capsys.readouterr().out
    assert "medians of 3 runs" in table
    assert "50.0x" in table
    assert "of 70 G multiply-adds" in table

    (row,) = suite.medians([{**report, "rows": [{**report["rows"][0], "error": "differs"}]}, report])["rows"]
    assert (row["error"], row["ratio_published_loop"]) == ("differs", 99.0)
    report["rows"][0]["width"] = 8
    files[1].write_text(json.dumps(report))
    assert run(["bench", "--show", *map(str, files)]) == 2
    assert "measured different things" in capsys.readouterr().err


def test_the_command_fails_if_a_form_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "QUICK", SMALL)
    make_wrong(monkeypatch, "output")
    file = tmp_path / "bench.json"
    assert run(["bench", "--quick", "--json", str(file)]) == 1
    assert json.loads(file.read_text())["rows"][0]["seconds"] is None
    assert "check failed" in capsys.readouterr().out


def test_wrong_arguments_name_the_choices(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["bench", "--only", "quantum"]) == 2
    assert "choose from: linear, delta" in capsys.readouterr().err
    assert run(["bench", "--json", str(tmp_path / "nowhere" / "x.json")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_the_full_suite_has_every_part() -> None:
    names = [name for name, _ in suite.work(suite.FULL, (), "auto")]
    assert "recurrent_delta 16x4" in names
    assert "streaming recurrent_delta" in names
    assert "training step of recurrent-delta" in names
    assert len(names) == len(set(names))
    assert [name for name, _ in suite.work(suite.FULL, ("srwm",), "auto")] == [
        "srwm 16x4",
        "srwm 8x8",
        "srwm 4x16",
        "srwm 2x32",
        "srwm 1x64",
        "streaming srwm",
    ]


def test_the_training_step_is_measured() -> None:
    (step,) = training.measure_step("linear-transformer", rounds=1, min_seconds=0.0)
    assert step.milliseconds > 0
    assert step.ratio_tuned_loop > 0


def test_forms_are_timed_in_turns() -> None:
    order: list[str] = []
    times = clock.medians({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, min_seconds=0.0)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert set(times) == {"a", "b", clock.PEAK}
    assert times[clock.PEAK] > 1e8


def test_a_missing_backend_is_an_error_before_any_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object, **__: object) -> None:
        raise AssertionError("a measurement was started")

    monkeypatch.setattr(operators, "measure", measure)
    assert run(["bench", "--quick", "--only", "linear", "recurrent_delta", "--backend", "chunk"]) == 2
    assert "recurrent_delta has no backend 'chunk'; choose from: auto, reference" in capsys.readouterr().err
