"""A folder is a register: names come from its file names, and loading a name imports exactly one module.

Packages of outsiders join the same catalogue through an entry point whose value is `package.module:Class`.
"""

import difflib
import importlib
import inspect
import pkgutil
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Generic, TypeVar

from fwplab.errors import UserError

Base = TypeVar("Base")


@cache  # it reads every installed package: 10 ms, and specs are written by name thousands of times
def _installed(group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


class Catalogue(Generic[Base]):
    """Finds the subclasses of `base` that live one to a file in `package`.

    Names are file names with `separator` in place of the underscore; `-` and `_` are both understood on input.
    Files whose name starts with an underscore, and those in `besides`, hold no entry.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        base: type[Base],
        *,
        separator: str = "_",
        besides: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.package = package
        self.base = base
        self.separator = separator
        self.besides = besides

    def names(self) -> list[str]:
        """All names, those of this package and those of entry points in the group `fwplab.<package>`."""
        return sorted({*self.own_names(), *self._entry_points()})

    def own_names(self) -> list[str]:
        """The names of this package's own entries, whatever else is installed."""
        return sorted(self._files())

    def __contains__(self, name: str) -> bool:
        """Whether there is an entry of this name."""
        return self._spelled(name) in self.names()

    def load(self, name: str) -> type[Base]:
        """The class called `name`; a `UserError` that lists the names if there is none."""
        wanted = self._spelled(name)
        files = self._files()
        if wanted in files:
            return self._only_class(importlib.import_module(f"{self.package}.{files[wanted]}"))
        entry_points = self._entry_points()
        if wanted in entry_points:
            found = entry_points[wanted].load()
            if not (inspect.isclass(found) and issubclass(found, self.base)):
                raise UserError(f"{self.kind} {wanted!r} of {entry_points[wanted].value} is no {self.base.__name__}")
            return found
        raise UserError(self._unknown(name))

    def name_of(self, entry: type[Base]) -> str:
        """The name under which `entry` is found; a `UserError` for a class that nobody else could find again."""
        place = f"{entry.__module__}:{entry.__qualname__}"
        for name, point in self._entry_points().items():
            if point.value == place:
                return name
        package, _, file = entry.__module__.rpartition(".")
        if package != self.package:
            raise UserError(
                f"{place} has no name, so that no other process would find it again; give it one by an entry point in "
                f"the group {self.package}: my-name = {place!r}"
            )
        return self._spelled(file)

    def _spelled(self, name: str) -> str:
        return name.strip().lower().replace("-", self.separator).replace("_", self.separator)

    def _files(self) -> dict[str, str]:
        folder = importlib.import_module(self.package).__path__
        stems = (module.name for module in pkgutil.iter_modules(folder))
        return {self._spelled(s): s for s in stems if not s.startswith("_") and s not in self.besides}

    def _entry_points(self) -> dict[str, metadata.EntryPoint]:
        return {self._spelled(point.name): point for point in _installed(self.package)}

    def _only_class(self, module: ModuleType) -> type[Base]:
        found = [
            value
            for name, value in vars(module).items()
            if inspect.isclass(value)
            and value.__module__ == module.__name__
            and issubclass(value, self.base)
            and not name.startswith("_")
        ]
        if len(found) != 1:
            names = ", ".join(value.__name__ for value in found) or "none"
            raise TypeError(f"{module.__name__} must hold exactly one public {self.base.__name__}, found: {names}")
        return found[0]

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(self._spelled(name), self.names(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown {self.kind} {name!r}{hint}; choose from: {', '.join(self.names())}"
