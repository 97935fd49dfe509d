"""Sends cases through a door, and counts what happens."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from tests.fuzz.door import Door, judge

SHOWN = 3_000
"""The most characters that are kept of a failing case, and of its traceback."""


@dataclass
class Tally:
    """What happened at one door.

    - `failures`: for every kind of failure, its number, its smallest case and what was said.
    """

    door: str
    cases: int = 0
    returned: int = 0
    refused: int = 0
    failed: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    failures: dict[str, tuple[int, str, str]] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Adds the cases of another process."""
        for name in ("cases", "returned", "refused", "failed", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.slowest = max(self.slowest, other.slowest)
        for where, (number, case, why) in other.failures.items():
            self.note(where, case, why, number)

    def note(self, where: str, case: str, why: str, number: int = 1) -> None:
        """Counts a failure. The smallest case is kept."""
        before, smallest, said = self.failures.get(where, (0, case, why))
        kept = (case, why) if len(case) < len(smallest) else (smallest, said)
        self.failures[where] = (before + number, *kept)


def knock(door: Door, cases: int, first: int, room: Path, last: Path) -> Tally:
    """Sends cases through a door. last: the file that has the current case, in case this process dies."""
    tally = Tally(door.name)

    @seed(first)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(door.cases)
    def each(case: Any) -> None:
        last.write_text(ascii(case)[:100_000])
        outcome = judge(door, case, room)
        tally.cases += 1
        setattr(tally, outcome.kind, getattr(tally, outcome.kind) + 1)
        tally.slowest, tally.seconds = max(tally.slowest, outcome.seconds), tally.seconds + outcome.seconds
        if outcome.kind == "failed":
            tally.note(outcome.where, ascii(case)[:SHOWN], outcome.why[-SHOWN:])

    each()
    return tally
