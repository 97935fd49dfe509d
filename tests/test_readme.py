"""The Python example of the README prints the expected results, and SECURITY.md names tests that exist."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    *members, last = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d+ steps", "N steps", line) for line in members] == [
        f"seed {seed}: solved after N steps" for seed in (0, 1)
    ]
    assert last == "9,474 parameters; aaaa is labelled 0 1 0 1"


def test_the_tests_of_every_promise_exist() -> None:
    root = README.parent
    table = (root / "SECURITY.md").read_text("utf-8").partition("## What is promised")[2].partition("\n## ")[0]
    promises = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(promises) > 10
    for promise, tests in promises:
        named = re.findall("`(tests/[^`]+)`", tests)
        assert named, promise
        assert all((root / name).is_file() for name in named), promise
