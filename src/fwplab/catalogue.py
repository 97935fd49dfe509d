"""A folder is a register: names come from its file names, and loading a name imports exactly one module.

Packages of outsiders join the same catalogue through an entry point whose value is `package.module:Class`.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache, cached_property
from importlib import metadata
from types import ModuleType
from typing import Any, Generic, TypeVar

from fwplab.errors import UserError
from fwplab.source import class_text

Base = TypeVar("Base")


@cache  # it reads every installed package: 10 ms, and specs are written by name thousands of times
def _installed(group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


class Catalogue(Generic[Base]):
    """Finds the subclasses of `base` that live one to a file in `package`.

    Names are file names with `separator` in place of the underscore; `-` and `_` are both understood on input.
    Files whose name starts with an underscore, and those in `besides`, hold no entry. A `base` that is costly to import
    is given as text, `package.module:Class`; it is imported with the first entry.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        base: type[Base] | str,
        *,
        separator: str = "_",
        besides: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.package = package
        self._base = base
        self.separator = separator
        self.besides = besides

    @cached_property
    def base(self) -> type[Base]:
        """What every entry is a subclass of."""
        if not isinstance(self._base, str):
            return self._base
        module, _, name = self._base.partition(":")
        found: type[Base] = getattr(importlib.import_module(module), name)
        return found

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
        """The class called `name`; a `UserError` that lists the names if there is none, and one that says why an entry
        of another package cannot be imported."""
        wanted = self._spelled(name)
        files = self._files()
        if wanted in files:
            return self._only_class(importlib.import_module(f"{self.package}.{files[wanted]}"))
        entry_points = self._entry_points()
        if wanted in entry_points:
            return self._of_another(wanted, entry_points[wanted])
        raise UserError(self._unknown(name))

    def classes(self) -> Iterator[tuple[str, type[Base]]]:
        """Every name with its class, without those entries of other packages that cannot be imported."""
        for name in self.names():
            try:
                found = self.load(name)
            except UserError:
                continue
            yield name, found

    def read(self, name: str, *attributes: str) -> dict[str, Any]:
        """Class attributes of the entry called `name`, `__doc__` among them, without importing it where its file states
        them as plain values; the class is looked for by its file's name without underscores, in upper or lower case."""
        stem = self._files().get(self._spelled(name))
        stated = class_text(f"{self.package}.{stem}", stem.replace("_", "")) if stem else {}
        if not set(attributes) <= set(stated):
            entry = self.load(name)
            stated = {attribute: getattr(entry, attribute) for attribute in attributes}
        return {attribute: stated[attribute] for attribute in attributes}

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

    def _of_another(self, name: str, point: metadata.EntryPoint) -> type[Base]:
        """The class behind an entry point; whatever its package does while it is imported is a `UserError`."""
        try:
            found = point.load()
        except (Exception, SystemExit) as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{self.kind} {name!r} of {point.value} cannot be imported ({why})") from error
        if not (inspect.isclass(found) and issubclass(found, self.base)):
            raise UserError(f"{self.kind} {name!r} of {point.value} is no {self.base.__name__}")
        return found

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
