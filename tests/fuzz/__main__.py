"""The long form of the fuzzing: `python -m tests.fuzz`, or `make fuzz`. The exit code is 1 if any case failed."""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from tests.fuzz.door import Door
from tests.fuzz.doors import DOORS
from tests.fuzz.tally import SHOWN, Tally, knock

WHOLE = 100_000
PIECE = 1_000
"""The cases of one process. A crash loses at most so many."""


class Piece(NamedTuple):
    """What one process does: so many cases of a door, from a seed."""

    door: Door
    cases: int
    seed: int


def _work(piece: Piece, folder: Path) -> None:
    """A process of the long form: writes the tally of one piece to a file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    errors = (folder / "errors").open("w")
    os.dup2(errors.fileno(), 2)
    tally = knock(piece.door, piece.cases, piece.seed, folder / "room", folder / "last")
    (folder / "tally").write_text(json.dumps(asdict(tally)))


def _tally(piece: Piece, folder: Path, code: int | None) -> Tally:
    """What a process has found. If it has died, that is a failure of its last case."""
    if code == 0:
        facts = json.loads((folder / "tally").read_text())
        return Tally(**{**facts, "failures": {where: tuple(each) for where, each in facts["failures"].items()}})
    tally = Tally(piece.door.name, cases=1, failed=1)
    case = (folder / "last").read_text() if (folder / "last").exists() else "none"
    tally.note(f"the process ended with {code}", case[:SHOWN], (folder / "errors").read_text(errors="replace")[-SHOWN:])
    return tally


def tallies_of(pieces: Sequence[Piece], workers: int) -> Iterator[Tally]:
    """The tallies of all pieces, each from a process of its own, in the order in which they end.

    The processes are forked, as importing everything that the doors need takes longer than a thousand cases.
    """
    context, waiting = multiprocessing.get_context("fork"), list(reversed(pieces))
    running: dict[int, tuple[Any, Piece, Path]] = {}
    with tempfile.TemporaryDirectory() as place:
        while waiting or running:
            while waiting and len(running) < workers:
                piece, folder = waiting.pop(), Path(tempfile.mkdtemp(dir=place))
                process = context.Process(target=_work, args=(piece, folder))
                process.start()
                running[process.sentinel] = process, piece, folder
            for sentinel in connection.wait(list(running)):
                process, piece, folder = running.pop(sentinel)
                process.join()
                yield _tally(piece, folder, process.exitcode)
                shutil.rmtree(folder)


def _table(tallies: Iterable[Tally]) -> Table:
    table = Table("door", "cases", "returned", "refused", "failed", "slowest", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    total = Tally("all doors")
    for each in tallies:
        total.add(each)
        table.add_row(*_cells(each))
    table.add_row(*_cells(total))
    return table


def _cells(tally: Tally) -> Sequence[str]:
    counts = (tally.cases, tally.returned, tally.refused, tally.failed)
    return tally.door, *(f"{count:,}" for count in counts), f"{tally.slowest:.2f} s"


def main() -> int:
    """Sends cases through all doors, and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=WHOLE, help="the number of cases of all doors together")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other cases")
    parser.add_argument(
        "--only", action="append", choices=[door.name for door in DOORS], help="one door; may be repeated"
    )
    parser.add_argument("--json", type=Path, help="a file for the counts and all failures")
    parser.add_argument("--workers", type=int, default=2, help="the number of processes")
    options = parser.parse_args()
    doors = [door for door in DOORS if not options.only or door.name in options.only]
    share = options.cases / sum(door.long for door in doors)
    wanted = Counter({door.name: max(1, round(door.long * share)) for door in doors})
    pieces = [
        Piece(door, min(PIECE, wanted[door.name] - begun), options.seed * 1_000_003 + number)
        for door in doors
        for number, begun in enumerate(range(0, wanted[door.name], PIECE))
    ]
    tallies = {door.name: Tally(door.name) for door in doors}
    console = Console(width=max(100, Console().width))
    for place, tally in enumerate(tallies_of(pieces, options.workers), start=1):
        tallies[tally.door].add(tally)
        print(f"{place} of {len(pieces)}: {tally.door}, {tally.failed} failed", file=sys.stderr, flush=True)
    for tally in tallies.values():
        for where, (number, case, why) in tally.failures.items():
            print(f"\n{tally.door}: {number} times {where}\ncase: {case}\n{why}")
    console.print(_table(tallies.values()))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(tally) for tally in tallies.values()], indent=2) + "\n")
    return int(any(tally.failed for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
