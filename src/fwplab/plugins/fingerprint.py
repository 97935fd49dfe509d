"""Fingerprints of the code of layers and languages from other packages.

The fingerprint is part of a run's key: a run with changed code is a different run.
"""

import hashlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

OWN = __name__.partition(".")[0]


@cache  # imported modules do not change while the process runs
def fingerprint(*classes: type) -> str | None:
    """The first 16 hexadecimal digits of a hash of the code of these classes.

    It covers the files that define the classes and, recursively, the modules of the same package that they import.
    None if all classes belong to fwplab itself: `fwplab.training.run.FORMAT` is the version of that code.
    """
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
