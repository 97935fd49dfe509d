"""The long form: `python -m tests.faults --minutes 20`. It prints each fault that it finds, and a table at the end.

A line of a fault ends with the options that repeat its trial.
"""

import argparse
import json
import random
import tempfile
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

import torch
from tests.faults import damage, disks, kills, servers
from tests.faults.tally import Tally, passed, table, totals
from tests.faults.trial import Kind, trial

KINDS: dict[str, Kind] = {
    "kill": kills.kill,
    "drivers": kills.drivers,
    "disk-full": disks.full,
    "disk-read-only": disks.read_only,
    "damage": damage.damage,
    "server": servers.restarted,
    "ray": servers.cluster,
}
SHARES = {"kill": 6, "drivers": 2, "disk-full": 2, "disk-read-only": 1, "damage": 3, "server": 1, "ray": 1}
"""How often each kind is tried, relative to the others."""
INSTALLED = {"server": servers.HAS_SERVER, "ray": servers.HAS_RAY}


def work(kind: str, number: int, seed: int, folder: Path) -> Tally:
    """One trial, in a process of the harness."""
    torch.set_num_threads(1)
    try:
        with trial(kind, number, seed, folder) as one:
            KINDS[kind](one)
    except Exception:
        one.found("answers", f"the harness: {traceback.format_exc()}")
    return one.tally


def schedule(kinds: list[str]) -> list[str]:
    """The order of the kinds, which is repeated: each as often as its share, evenly mixed."""
    mixed = [((place + 0.5) / SHARES[kind], kind) for kind in kinds for place in range(SHARES[kind])]
    return [kind for _, kind in sorted(mixed)]


def run_all(kinds: list[str], seed: int, minutes: float, workers: int, folder: Path) -> list[Tally]:
    """Trials of these kinds until the time is over."""
    order, numbers, tallies = schedule(kinds), dict.fromkeys(kinds, 0), list[Tally]()
    began, place = time.monotonic(), 0
    waiting: set[Future[Tally]] = set()
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        while waiting or time.monotonic() < began + 60 * minutes:
            while len(waiting) < workers and time.monotonic() < began + 60 * minutes:
                kind = order[place % len(order)]
                waiting.add(pool.submit(work, kind, numbers[kind], seed, folder))
                numbers[kind], place = numbers[kind] + 1, place + 1
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                tallies.append(future.result())
                report(tallies[-1], seed, time.monotonic() - began)
    return tallies


def report(tally: Tally, seed: int, seconds: float) -> None:
    """Prints the progress, and what a trial has found."""
    print(f"{seconds:6.0f} s  {tally.kind} {tally.number}: {tally.counts['tried']} tried, {len(tally.lines)} found")
    for line in tally.lines:
        print(f"    {line}  [--seed {seed} --only {tally.kind} --trial {tally.number}]", flush=True)


def options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long trials are begun")
    parser.add_argument("--seed", type=int, help="the seed of all trials; by default a random one, which is printed")
    parser.add_argument("--only", choices=KINDS, action="append", help="only trials of this kind")
    parser.add_argument("--trial", type=int, help="with --only: repeat the trial with this number")
    parser.add_argument("--workers", type=int, default=2, help="how many trials at a time")
    parser.add_argument("--json", type=Path, help="the file to write the counts and the faults to")
    return parser.parse_args()


def main() -> int:
    """Runs the long form; returns 1 if a fault was found."""
    chosen = options()
    seed = random.SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    kinds = []
    for kind in chosen.only or KINDS:
        if INSTALLED.get(kind, True):
            kinds.append(kind)
        else:
            print(f"{kind}: left out, it is not installed")
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fwplab-faults-") as folder:
        if chosen.trial is None:
            tallies = run_all(kinds, seed, chosen.minutes, chosen.workers, Path(folder))
        else:
            tallies = [work(kind, chosen.trial, seed, Path(folder)) for kind in kinds]
            report(tallies[-1], seed, time.monotonic() - began)
    rows = totals(tallies)
    print(f"\n{table(rows)}\n\n{len(tallies)} trials in {(time.monotonic() - began) / 60:.0f} minutes, seed {seed}")
    if chosen.json is not None:
        lines = [f"{tally.kind} {tally.number}: {line}" for tally in tallies for line in tally.lines]
        facts = {"seed": seed, "trials": len(tallies), "counts": rows, "faults": lines}
        chosen.json.write_text(json.dumps(facts, indent=2) + "\n")
    return 0 if passed(rows) else 1
