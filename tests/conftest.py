"""Shapes are checked while testing, uninitialised memory is NaN, and nobody's own records are touched."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

PACKAGE = importlib.util.find_spec("fwplab")
assert PACKAGE is not None
assert PACKAGE.submodule_search_locations is not None
OPERATORS = Path(PACKAGE.submodule_search_locations[0]) / "ops"
RULES = [file.stem for file in OPERATORS.glob("*.py") if "\nRULE = Rule(" in file.read_text()]
install_import_hook([f"fwplab.ops.{rule}" for rule in RULES], "beartype.beartype")

import torch  # noqa: E402


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FWPLAB_HOME of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FWPLAB_HOME", str(folder))
    monkeypatch.setenv("FWPLAB_DOCTOR", "off")  # a new home would have every operator checked
    return folder


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """What `torch.empty` hands out is NaN, so that an output that nobody wrote shows."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Test processes share few cores."""
    torch.set_num_threads(int(os.environ.get("FWPLAB_TEST_THREADS", "1")))
