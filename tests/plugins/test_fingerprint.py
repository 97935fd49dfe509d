"""Fingerprints of plug-in code: a changed layer gives a new run key, so that old results are not reused."""

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.storage.test_store import record_of

from fwplab.errors import UserError
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.plugins.fingerprint import fingerprint
from fwplab.recipes.search import Search
from fwplab.storage.store import Store
from fwplab.training.checkpoint import Checkpoint
from fwplab.training.run import Run
from fwplab.training.spec import from_dict, to_dict
from fwplab.training.trainer import Training

FILES = {
    "__init__.py": "",
    "unrelated.py": "NUMBER = 1\n",
    "helpers.py": "SCALE = 1.0\n\ndef scaled(x):\n    return SCALE * x\n",
    "layer.py": """from dataclasses import dataclass

from fwplab.mixers import MIXERS
from outside_layers.helpers import scaled


@dataclass(frozen=True)
class Scaled(MIXERS.load("delta-net")):
    size: float = 1.0
""",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with one mixer."""
    folder = tmp_path / "outside_layers"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    point = EntryPoint("scaled", "outside_layers.layer:Scaled", "fwplab.mixers")
    monkeypatch.setattr(MIXERS, "_entry_points", lambda: {"scaled": point})
    return folder


@pytest.fixture
def mixer(package: Path) -> Callable[[], MixerSpec]:
    """The mixer as a new process would import it."""

    def load() -> MixerSpec:
        for name in [name for name in sys.modules if name.startswith("outside_layers")]:
            del sys.modules[name]
        fingerprint.cache_clear()
        importlib.invalidate_caches()
        importlib.import_module("outside_layers.unrelated")
        return MIXERS.load("scaled")()

    return load


def test_the_key_depends_on_the_code_of_the_layer_and_its_imports_only(
    package: Path, mixer: Callable[[], MixerSpec]
) -> None:
    first = Run("parity", mixer()).key
    assert Run("parity", mixer()).key == first
    (package / "unrelated.py").write_text("NUMBER = 2\n")
    (package / "layer.py").write_bytes(FILES["layer.py"].replace("\n", "\r\n").encode())
    assert Run("parity", mixer()).key == first
    keys = {first}
    for name in ("helpers.py", "layer.py"):
        (package / name).write_text(FILES[name] + "CHANGED = True\n")
        keys.add(Run("parity", mixer()).key)
    assert len(keys) == 3


def test_layers_of_this_package_have_no_fingerprint() -> None:
    run = Run("parity", MIXERS.load("srwm")())
    assert run.code is None
    assert "code" not in to_dict(run, defaults=False)


def test_a_record_of_old_code_is_kept_but_not_used_for_new_code(package: Path, mixer: Callable[[], MixerSpec]) -> None:
    old = Run("parity", mixer())
    search = Search("parity", "scaled").name
    with Store() as store:
        store.save(record_of(old))
        assert store.missing(Run("parity", mixer())) is None
        (package / "helpers.py").write_text("SCALE = 2.0\n\ndef scaled(x):\n    return x\n")
        new = Run("parity", mixer())
        assert store.missing(new) == new
        store.save(record_of(new))
        assert [record.run.key for record in store.records()] == [old.key, new.key]
        assert [record.run.code for record in store.found(new)] == [new.code]
    assert Search("parity", "scaled").name != search
    assert from_dict(Run, to_dict(old)).key == old.key


def test_a_run_of_old_code_cannot_continue_and_its_checkpoints_give_a_warning(
    package: Path, mixer: Callable[[], MixerSpec]
) -> None:
    old = Run("parity", mixer())
    weights = dict(old.build(0).state_dict())
    (package / "layer.py").write_text(FILES["layer.py"] + "CHANGED = True\n")
    new = mixer()
    with pytest.raises(UserError, match="mixer 'scaled' or language 'parity' has other code here than where"):
        Training(from_dict(Run, to_dict(old)), "cpu")
    with pytest.warns(RuntimeWarning, match=f"the code of 'scaled' has changed since run {old.key} was trained"):
        Checkpoint(from_dict(Run, to_dict(old)), 0, "last", 1, weights).model()
    assert Run("parity", new).key != old.key
