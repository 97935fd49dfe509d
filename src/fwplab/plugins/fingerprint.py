"""The code of layers and languages from outside this package: part of a run's name, for changed code is another run."""

import hashlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

OWN = __name__.partition(".")[0]


@cache  # what a process has imported does not change under it
def fingerprint(*classes: type) -> str | None:
    """Sixteen hexadecimal digits of the files in which these classes are defined, and of what those import of their
    own package, from file to file; None where all are this package's own, whose changes
    `fwplab.training.run.FORMAT` counts."""
    files: dict[str, Path] = {}
    waiting = [name for name in (one.__module__ for one in classes) if _root(name) != OWN]
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if name not in files and module is not None and getattr(module, "__file__", None):
            files[name] = Path(str(module.__file__))
            waiting += sorted(other for other in map(_module_of, vars(module).values()) if _root(other) == _root(name))
    if not files:
        return None
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\n".encode() + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:16]


def _module_of(value: object) -> str:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def _root(name: str) -> str:
    return name.partition(".")[0]
