"""The test suite passes with any layers and languages of other packages installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = "[fwplab.mixers]\noutside-gru = outside:GRU\n\n[fwplab.languages]\noutside_three_as = outside:ThreeAs\n"
SAMPLE = (
    "tests/cli/test_cli.py::test_languages_are_listed_labelled_and_sampled",
    "tests/cli/test_cli.py::test_mixers_are_listed_and_shown",
    "tests/plugins/test_check_mixer.py::test_the_mixers_of_fwplab_pass",
    "tests/languages/test_languages.py::test_every_language_has_a_second_definition",
    "tests/mixers/test_mixers.py::test_every_part_of_a_state_has_its_own_name",
)
"""Tests over the catalogues that take a few seconds."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which the layer and the language of docs/own-layer.md are installed."""
    page = (ROOT / "docs" / "own-layer.md").read_text("utf-8")
    layer, language = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]
    (tmp_path / "outside.py").write_text(layer + language)
    installed = tmp_path / "outside-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINTS)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "OMP_NUM_THREADS": "1"}


def test_an_installed_layer_and_language_change_no_test(environment: dict[str, str]) -> None:
    found = _python(environment, "-m", "fwplab", "languages") + _python(environment, "-m", "fwplab", "mixers")
    assert "outside_three_as" in found
    assert "outside-gru" in found
    pytest_ = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    collected = _python(environment, *pytest_, "--collect-only", "tests")
    assert "test_stacked_members_learn_as_single_members_do[srwm]" in collected
    assert not [line for line in collected.splitlines() if re.search(r"\[.*outside[-_].*\]", line)]
    assert re.search(r"\d+ passed", _python(environment, *pytest_, *SAMPLE))


def _python(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
