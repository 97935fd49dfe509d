"""Disks that are full, and disks that can only be read."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.faults import works
from tests.faults.trial import Trial, Work

LARGE = "256m"


@cache
def may_mount(folder: Path) -> bool:
    """Whether this user may mount a file system of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=False, capture_output=True)
    if done.returncode == 0:
        subprocess.run(["umount", str(folder)], check=True)
    return done.returncode == 0


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Callable[[str], None]]:
    """A disk of its own at this folder, with what is in the folder. Yields a function that changes its options."""
    contents = folder.with_name("contents")
    folder.rename(contents)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "none", str(folder)], check=True)

    def change(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    try:
        shutil.copytree(contents, folder, dirs_exist_ok=True)
        yield change
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full(trial: Trial, choose: Callable[..., Work] | None = None) -> None:
    """The disk is full at a random moment: the command ends with one line, or needs no more. With space it goes on."""
    work = (choose or trial.draw.choice(works.WORKS))(trial.draw)
    reference = trial.reference(work)
    trial.tally.counts["tried"] += 1
    if may_mount(trial.folder / "mount"):
        with mounted(trial.work) as change:
            used = sum(path.stat().st_blocks * 512 for path in trial.work.rglob("*"))
            needed = sum(path.stat().st_blocks * 512 for path in reference.folder.rglob("*")) - used
            change(f"size={used + 4096 + int(trial.draw.uniform(0, 1.5) * max(needed, 65536))}")
            refused(trial, work, {})
            change(f"size={LARGE}")
            trial.finish(work, reference)
    else:
        at = trial.draw.randint(1, reference.changes)
        refused(trial, work, {"errno": errno.ENOSPC, "at": at})
        trial.finish(work, reference)


def refused(trial: Trial, work: Work, fault: dict[str, int]) -> None:
    """Runs a command on a full disk."""
    ended = trial.run(work.words, fault)
    right = ended.code == 0 or (ended.code in (1, 2) and len(ended.lines) == 1)
    trial.require(right, ended, f"{work.words[0]} on a full disk")


READS = (
    ("runs",),
    ("runs", "--json"),
    ("study", "show", "small-runs", "--own"),
    ("study", "status", "small-runs", "--own"),
)
WRITES = (
    ("train", "--language", "parity", "--mixer", "lstm", "--seeds", "1", *works.SMALL),
    (*works.STUDY, "1", "--seeds", "3"),
    works.EXPORT,
    ("report", "small-runs", "--own"),
    ("study", "export", "small-runs", "--own", "--format", "records", "--out", "archive"),
    (*works.SEARCH, "--mixer", "lstm", "--workers", "1"),
)


def read_only(trial: Trial) -> None:
    """On a disk that can only be read, what is there is shown, and what must write ends with one line."""
    trial.reference(Work((*works.STUDY, "1")))
    trial.succeed((*works.STUDY, "1"))
    reads, writes = trial.draw.choice(READS), trial.draw.choice(WRITES)
    if not may_mount(trial.folder / "mount"):
        trial.tally.counts["tried"] += 1
        refuses(trial, writes, {"errno": errno.EROFS, "at": 1})
        return
    trial.tally.counts["tried"] += 2
    with mounted(trial.work) as change:
        before = sorted(trial.work.rglob("*"))
        change("ro")
        shown = trial.run(reads)
        trial.require(shown.code == 0 and shown.lines == [], shown, f"{' '.join(reads)} on a disk that is only read")
        refuses(trial, writes, {})
        if sorted(trial.work.rglob("*")) != before:
            trial.found("left", "a file on a disk that can only be read")


def refuses(trial: Trial, words: tuple[str, ...], fault: dict[str, int]) -> None:
    """Runs a command that must write."""
    ended = trial.run(words, fault, TMPDIR=os.environ.get("TMPDIR", "/tmp"))
    right = ended.code == 2 and len(ended.lines) == 1
    trial.require(right, ended, f"{' '.join(words[:2])} where nothing can be written")
