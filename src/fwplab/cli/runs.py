"""`fwplab runs`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fwplab.files import home
from fwplab.languages import LANGUAGES, short_name
from fwplab.mixers import MIXERS

HEAD = ("run", "mixer", "language", "seeds", "status", "seconds")
LISTS = ("seeds", "status")
FACTS = ("key", "mixer", "language", "task", "seeds", "status", "seconds")
"""The facts of a run that `--json` prints, besides its folder."""


@dataclass(frozen=True)
class Runs:
    """Lists the finished runs in the store."""

    language: str | None = None
    """Only runs on this language."""
    mixer: str | None = None
    """Only runs of this mixer."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.storage.listing import list_runs

        language = LANGUAGES.known(self.language) if self.language else None
        mixer = MIXERS.known(self.mixer) if self.mixer else None
        facts = list_runs(language=language, mixer=mixer)
        if self.json:
            _print_json(facts)
        else:
            listed = list(facts)
            _print_table([_cells(fact) for fact in listed])
            if unchecked := sum(not fact["checked"] for fact in listed):
                print(f"{unchecked:,} of {len(listed):,} were written without a checksum, by a former version")
        return 0


def _print_json(facts: Iterable[dict[str, Any]]) -> None:
    """Prints the facts as `json.dumps` with an indent of 2 does, which takes seconds for so many small objects."""
    folder = home() / "runs"
    text = ",\n".join(_object(fact, str(folder / fact["key"])) for fact in facts)
    print(f"[\n{text}\n]" if text else "[]")


def _object(fact: dict[str, Any], folder: str) -> str:
    lines = [f'    "{name}": {_array(fact[name]) if name in LISTS else _json(fact[name])}' for name in FACTS]
    return "  {\n" + ",\n".join(lines) + f',\n    "folder": {json.dumps(folder)}\n  }}'


def _array(values: list[Any]) -> str:
    inside = ",\n".join([f"      {_json(value)}" for value in values])
    return f"[\n{inside}\n    ]" if values else "[]"


@lru_cache(typed=True)
def _json(value: Any) -> str:
    return json.dumps(value)


def _cells(fact: dict[str, Any]) -> tuple[str, ...]:
    task = "" if fact["task"] == "transduction" else f" ({fact['task']})"
    seeds, status = " ".join(map(str, fact["seeds"])), " ".join(fact["status"])
    return fact["key"], fact["mixer"], short_name(fact["language"]) + task, seeds, status, f"{fact['seconds']:.0f}"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Prints the rows in aligned columns, each row on one line."""
    widths = [max(map(len, cells)) for cells in zip(HEAD, *rows, strict=True)]
    for row in (HEAD, *rows):
        print(" " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
