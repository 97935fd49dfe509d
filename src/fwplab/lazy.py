"""Names of a package that are imported when they are first asked for (PEP 562), so that importing it stays cheap."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package.

    `package`: its name, `__name__` there. `modules`: for each name, the module that defines it, or `module:name`
    where it has another name there. A type checker does not follow these; the package repeats them as imports under
    `if TYPE_CHECKING`.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, defined_as = modules[name].partition(":")
        value = getattr(importlib.import_module(module), defined_as or name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
