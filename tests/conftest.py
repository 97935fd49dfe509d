"""Settings of every test: checked shapes, uninitialised memory filled with NaN, and a temporary FWPLAB_HOME."""

import importlib.util
import os
import sys
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

from fwplab.mixers import MixerSpec  # noqa: E402


def pytest_make_parametrize_id(val: object) -> str | None:
    """A readable id for a parameter that pytest would only number: a data type, a spec, or a short collection."""
    if isinstance(val, torch.dtype):
        return str(val).removeprefix("torch.")
    if isinstance(val, MixerSpec):
        return type(val).__name__
    if isinstance(val, dict):
        val = ", ".join(f"{name}={value}" for name, value in val.items())
    elif isinstance(val, list | tuple):
        val = ", ".join(map(str, val))
    else:
        return None
    return val if 0 < len(val) <= 80 and val.isprintable() else None


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary FWPLAB_HOME for each test, so that the user's records are not touched."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FWPLAB_HOME", str(folder))
    monkeypatch.setenv("FWPLAB_DOCTOR", "off")  # in a new FWPLAB_HOME, every operator would be checked first
    return folder


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """`torch.empty` returns NaN, so that a test sees an output that a kernel did not write."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Puts the main module back that Streamlit's `AppTest` replaces. Processes that a later test starts import it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Several test processes share few cores, so that each uses one thread."""
    torch.set_num_threads(int(os.environ.get("FWPLAB_TEST_THREADS", "1")))
