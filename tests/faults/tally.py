"""What the harness counts, and the table of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

COUNTS = {
    "tried": "faults tried",
    "lost": "results lost",
    "twice": "trained twice",
    "bits": "other bits",
    "believed": "damage believed",
    "left": "files left over",
    "orphans": "processes left",
    "tracebacks": "tracebacks",
    "hangs": "hangs over 10 s",
    "answers": "wrong answers",
}
"""The counts and their titles. All but the first are to be 0. A wrong answer is an exit code or a message that a
command should not end with."""


@dataclass
class Tally:
    """The counts of one trial, and one line for each fault that it found."""

    kind: str
    number: int
    counts: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def found(self, count: str, line: str) -> None:
        """Counts one fault of the program."""
        if count not in COUNTS:
            raise ValueError(f"unknown count {count!r}; choose from: {', '.join(COUNTS)}")
        self.counts[count] += 1
        self.lines.append(f"{count}: {line}")


def totals(tallies: list[Tally]) -> dict[str, Counter[str]]:
    """The counts of each kind, and of all kinds."""
    by_kind: dict[str, Counter[str]] = {}
    for tally in tallies:
        by_kind.setdefault(tally.kind, Counter()).update(tally.counts)
    every = sum(by_kind.values(), Counter[str]())
    return {kind: by_kind[kind] for kind in sorted(by_kind)} | {"all": every}


def table(rows: Mapping[str, Mapping[str, int]]) -> str:
    """The table as Markdown."""
    head = ["kind", *COUNTS.values()]
    body = [[kind, *(f"{counts.get(name, 0):,}" for name in COUNTS)] for kind, counts in rows.items()]
    rule = ["---", *["---:"] * len(COUNTS)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def passed(rows: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether something was tried, and no fault was found."""
    every = rows["all"]
    return every.get("tried", 0) > 0 and not any(every.get(name, 0) for name in COUNTS if name != "tried")
