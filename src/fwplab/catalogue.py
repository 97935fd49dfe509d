"""Catalogues of classes. The files of a folder are the entries, and loading an entry imports only its module.

Other packages add entries with an entry point whose value is `package.module:Class`.
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


@cache  # reading the metadata of all installed packages takes 10 ms, and names are looked up thousands of times
def _installed(group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


class Catalogue(Generic[Base]):
    """Finds the subclasses of `base` in `package`, one per file.

    The name of an entry is its file name with `separator` in place of the underscore. On input `-` and `_` are
    equivalent. The file of `base` and files whose name starts with an underscore hold no entry.

    - `kind`: what an entry is, for messages.
    - `base`: the class, or the text `package.module:Class` if it is slow to import. It is then imported with the first
      entry.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        base: type[Base] | str,
        *,
        separator: str = "_",
    ) -> None:
        self.kind = kind
        self.package = package
        self._base = base
        self.separator = separator

    @cached_property
    def base(self) -> type[Base]:
        """The base class of all entries."""
        if not isinstance(self._base, str):
            return self._base
        module, _, name = self._base.partition(":")
        found: type[Base] = getattr(importlib.import_module(module), name)
        return found

    def names(self) -> list[str]:
        """All names: those of `package`, and those of the entry points in the group of the same name."""
        return sorted({*self.own_names(), *self._entry_points()})

    def own_names(self) -> list[str]:
        """The names of the entries in `package`, without those of other packages."""
        return sorted(self._files())

    def __contains__(self, name: str) -> bool:
        """Whether there is an entry of this name."""
        return self._normalised(name) in self.names()

    def known(self, name: str) -> str:
        """The name in the catalogue, without importing the entry. Raises `UserError` if there is none."""
        if name not in self:
            raise UserError(self._unknown(name))
        return self._normalised(name)

    def load(self, name: str) -> type[Base]:
        """Returns the class called `name`.

        Raises a `UserError` that lists the names if there is none, or that says why the entry of another package cannot
        be imported.
        """
        wanted = self._normalised(name)
        files = self._files()
        if wanted in files:
            return self._only_class(importlib.import_module(f"{self.package}.{files[wanted]}"))
        entry_points = self._entry_points()
        if wanted in entry_points:
            return self._load_entry_point(wanted, entry_points[wanted])
        raise UserError(self._unknown(name))

    def classes(self) -> Iterator[tuple[str, type[Base]]]:
        """All names with their classes. Entries of other packages that cannot be imported are left out."""
        for name in self.names():
            try:
                found = self.load(name)
            except UserError:
                continue
            yield name, found

    def read(self, name: str, *attributes: str) -> dict[str, Any]:
        """Returns class attributes of the entry called `name`, such as `__doc__`.

        It reads them from the source text if they are literals there, and imports the entry otherwise. For this the
        name of the class must be the file name without underscores, in upper or lower case.
        """
        stem = self._files().get(self._normalised(name))
        literals = class_text(f"{self.package}.{stem}", stem.replace("_", "")) if stem else {}
        if not set(attributes) <= set(literals):
            entry = self.load(name)
            literals = {attribute: getattr(entry, attribute) for attribute in attributes}
        return {attribute: literals[attribute] for attribute in attributes}

    def name_of(self, entry: type[Base]) -> str:
        """The name of the class `entry`. Raises `UserError` for a class that is not in the catalogue."""
        place = f"{entry.__module__}:{entry.__qualname__}"
        for name, point in self._entry_points().items():
            if point.value == place:
                return name
        package, _, file = entry.__module__.rpartition(".")
        if package != self.package:
            raise UserError(
                f"{place} has no name, so that no other process can find it; give it one by an entry point in "
                f"the group {self.package}: my-name = {place!r}"
            )
        return self._normalised(file)

    def _normalised(self, name: str) -> str:
        return name.strip().lower().replace("-", self.separator).replace("_", self.separator)

    def _files(self) -> dict[str, str]:
        folder = importlib.import_module(self.package).__path__
        base = self._base.partition(":")[0] if isinstance(self._base, str) else self._base.__module__
        stems = (module.name for module in pkgutil.iter_modules(folder))
        return {self._normalised(s): s for s in stems if not s.startswith("_") and f"{self.package}.{s}" != base}

    def _entry_points(self) -> dict[str, metadata.EntryPoint]:
        return {self._normalised(point.name): point for point in _installed(self.package)}

    def _load_entry_point(self, name: str, point: metadata.EntryPoint) -> type[Base]:
        """The class of an entry point. Any error during its import becomes a `UserError`."""
        try:
            found = point.load()
        except (Exception, SystemExit) as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{self.kind} {name!r} of {point.value} cannot be imported ({why})") from error
        if not (inspect.isclass(found) and issubclass(found, self.base)):
            raise UserError(f"{self.kind} {name!r} of {point.value} is not a subclass of {self.base.__name__}")
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
        near = difflib.get_close_matches(self._normalised(name), self.names(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown {self.kind} {name!r}{hint}; choose from: {', '.join(self.names())}"
