"""Writes machines to files: as JSON values or as a graph."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fwplab.errors import UserError
from fwplab.files import replaced

TEXTS = (".dot", ".json")


def check_suffixes(paths: Sequence[Path], suffixes: Sequence[str] = TEXTS) -> None:
    """Raises `UserError` for a path whose suffix is not one of `suffixes`."""
    for path in paths:
        if path.suffix.lower() not in suffixes:
            raise UserError(f"no machine can be written as {path.name!r}; choose from: {', '.join(suffixes)}")


def write_text(path: Path, facts: dict[str, Any], graph: Callable[[], str]) -> None:
    """Writes `facts` to a .json file, or the text of `graph` to a .dot file. The file appears only once complete."""
    with replaced(path) as temporary:
        text = graph() if path.suffix.lower() == ".dot" else json.dumps(facts, indent=2) + "\n"
        temporary.write_text(text, "utf-8")
