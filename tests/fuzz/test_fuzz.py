"""The short form of the fuzzing: a few cases of every door, the same in every run. The long form is `make fuzz`."""

from pathlib import Path

import pytest
from tests.fuzz.door import Door
from tests.fuzz.doors import DOORS
from tests.fuzz.tally import knock


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_a_case_returns_or_is_refused_in_one_line(door: Door, tmp_path: Path) -> None:
    tally = knock(door, door.short, 0, tmp_path / "room", tmp_path / "last")
    assert tally.cases
    assert not tally.failures, "\n".join(
        f"{n} times {where}: {case}\n{why}" for where, (n, case, why) in tally.failures.items()
    )
