"""Fuzzing of one door that is guided by coverage, with Atheris: `python -m tests.fuzz.guided DOOR CASES`.

Atheris has wheels for some versions of Python alone, so that it is no requirement: `pip install atheris`.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings


def main() -> None:
    """Sends cases through a door, and ends at the first failure."""
    import atheris

    with atheris.instrument_imports(include=["fwplab"]):
        from tests.fuzz.door import judge
        from tests.fuzz.doors import DOORS
    name, cases = sys.argv[1:]
    door, room = next(door for door in DOORS if door.name == name), Path(tempfile.mkdtemp()) / "room"

    @settings(database=None, deadline=None)
    @given(door.cases)
    def check(case: Any) -> None:
        outcome = judge(door, case, room)
        assert outcome.kind != "failed", f"{outcome.where}\n{outcome.why}"

    atheris.Setup([sys.argv[0], f"-runs={int(cases)}"], check.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
