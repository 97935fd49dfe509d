"""Names of a package that are imported at their first use (PEP 562), so that importing the package is fast."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns the functions `__getattr__` and `__dir__` of a package.

    - `package`: the name of the package.
    - `modules`: for each name, the module that defines it, or `module:name` if its name there is different.

    Type checkers do not understand these functions. The package therefore repeats the names as imports under
    `if TYPE_CHECKING`.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, defined_as = modules[name].partition(":")
        value = getattr(importlib.import_module(module), defined_as or name)
        setattr(sys.modules[package], name, value)  # later accesses do not call this function
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
