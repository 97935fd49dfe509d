"""One trial: commands in a folder of their own, a fault, and what must hold after it."""

import contextlib
import fcntl
import hashlib
import json
import os
import pickle
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.tally import Tally
from tests.processes import children_of, started

from fwplab.storage.store import Store
from fwplab.training.checkpoint import read_tensors

INSIDE = Path(__file__).parent / "inside"
HANG_SECONDS = 10.0
"""How long a command may take to end after a signal, on a machine that has a core for each process that runs."""
LONGEST_SECONDS = 300.0
"""How long an undisturbed command may take; the tests share a machine with others."""
MARK = "FWPLAB_FAULT_TRIAL"
"""The variable by which the processes of a trial are found."""
PROGRESS = re.compile(r".+ on .+: step \d+/\d+, ")
TRIALS = 3
"""How many trials a search of the harness has."""
DATABASES = ("records.sqlite", "searches.sqlite")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines on standard error, without those of the progress."""
        return [line for line in self.err.splitlines() if not PROGRESS.match(line)]


@dataclass(frozen=True)
class Work:
    """A command to disturb.

    words: the command, in a folder where `home` is FWPLAB_HOME.
    before: commands that prepare the folder.
    comparable: whether two undisturbed executions leave the same files.
    new: a folder that the command makes; it refuses one that exists.
    """

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    comparable: bool = True
    new: str | None = None


@dataclass(frozen=True)
class Reference:
    """What an undisturbed command leaves: the digest of every file, its seconds, and its number of changes of files."""

    files: dict[str, str]
    seconds: float
    changes: int
    folder: Path


@dataclass
class Trial:
    """One trial of a kind, with its own random numbers and its own folder.

    folder: where trials and the results of undisturbed commands are kept. Some trials need a folder that others can
        enter, such as the user of a database server.
    """

    kind: str
    number: int
    seed: int
    folder: Path

    def __post_init__(self) -> None:
        self.draw = random.Random(f"{self.seed}/{self.kind}/{self.number}")
        self.tally = Tally(self.kind, self.number)
        self.mark = uuid.uuid4().hex
        self.place = self.folder / f"{self.kind}-{self.number}-{self.mark[:8]}"
        self.work = self.place / "work"
        self.work.mkdir(parents=True)
        self.begun: dict[int, tuple[float, Path]] = {}

    def found(self, count: str, line: str) -> None:
        """Counts one fault of the program."""
        self.tally.found(count, line)

    def close(self) -> None:
        """Counts the processes that the trial's commands have left, ends them, and removes its folder."""
        deadline = time.monotonic() + HANG_SECONDS * crowding()
        while (left := marked(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid, words in left.items():
            self.found("orphans", words)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.place, ignore_errors=True)

    def begin(self, words: Sequence[str], fault: Mapping[str, Any] | None = None, **more: str) -> subprocess.Popen[str]:
        """Starts a command in the trial's folder.

        fault: what the file `inside/sitecustomize.py` changes in it, besides saving at every check.
        more: variables of the environment.
        """
        output = self.place / f"output-{len(self.begun)}"
        (self.work / "tmp").mkdir(exist_ok=True)
        with open(f"{output}.out", "w") as out, open(f"{output}.err", "w") as err:
            process = started(
                list(words), cwd=self.work, env=self.environment(fault, more), stdout=out, stderr=err, stdin=-3
            )
        self.begun[process.pid] = time.monotonic(), output
        return process

    def environment(self, fault: Mapping[str, Any] | None, more: Mapping[str, str]) -> dict[str, str]:
        """The environment of the trial's commands."""
        source = Path(__file__).parents[2] / "src"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FWPLAB")}
        return kept | {
            "FWPLAB_HOME": str(self.work / "home"),
            "FWPLAB_DOCTOR": "off",
            "FWPLAB_FAULT": json.dumps({"saves": True, "home": str(self.work), **(fault or {})}),
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join([str(source), str(INSIDE)]),
            "TMPDIR": str(self.work / "tmp"),
            "OMP_NUM_THREADS": "1",
            **more,
        }

    def end(self, process: "subprocess.Popen[str]", seconds: float = LONGEST_SECONDS) -> Ended:
        """Waits for a command. One that goes on for longer than this is a hang, and is killed."""
        seconds *= crowding()
        began, output = self.begun[process.pid]
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.found("hangs", f"{' '.join(map(str, process.args[3:]))} goes on after {seconds:.0f} s")  # type: ignore[index]
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        texts = [Path(f"{output}.{end}").read_text(errors="replace") for end in ("out", "err")]
        ended = Ended(process.returncode, *texts, time.monotonic() - began)
        if "Traceback (most recent call last)" in ended.err:
            self.found("tracebacks", " / ".join(ended.err.strip().splitlines()[-2:]))
        return ended

    def run(self, words: Sequence[str], fault: Mapping[str, Any] | None = None, **more: str) -> Ended:
        """Runs a command to its end."""
        return self.end(self.begin(words, fault, **more))

    def succeed(self, words: Sequence[str], **more: str) -> Ended:
        """Runs a command that must succeed without a word on standard error but the progress."""
        ended = self.run(words, **more)
        if ended.code or ended.lines:
            self.found("answers", f"{' '.join(words[:2])} ends with {ended.code}: {ended.lines[-1:]}")
        return ended

    def finish(self, work: Work, reference: "Reference") -> None:
        """Starts a disturbed command again, to its end, and compares what it leaves."""
        if work.new is None or not (self.work / work.new).exists():
            self.succeed(work.words)
        if work.comparable:
            self.compare(reference)
        else:
            self._compare_search()

    def _compare_search(self) -> None:
        """A search has all its trials, none seems to be running, and no training state or temporary file is left."""
        found = digests(self.work)
        if int(found.get("ended", 0)) < TRIALS:  # two workers may end one more at the same time
            self.found("lost", f"{found.get('ended')} of {TRIALS} trials have ended")
        if found.get("running") != "0":
            self.found("left", f"{found.get('running')} trials seem to be running")
        for name in found:
            path = Path(name)
            if path.name == "resume.safetensors" or path.name.startswith(".") or path.parts[0] == "tmp":
                self.found("left", name)

    def require(self, right: bool, ended: Ended, what: str) -> None:
        """Counts a wrong answer, unless it is `right` or a traceback that is counted already."""
        if not right and "Traceback (most recent call last)" not in ended.err:
            self.found("answers", f"{what}: exit code {ended.code}, {ended.lines[-3:]}")

    def compare(self, reference: Reference) -> None:
        """Compares the files of the trial with those of an undisturbed command."""
        found = digests(self.work)
        for name in reference.files.keys() - found.keys():
            self.found("lost", name)
        for name in found.keys() - reference.files.keys():
            self.found("left", name)
        for name in reference.files.keys() & found.keys():
            if found[name] != reference.files[name]:
                self.found("bits", name)

    def reference(self, work: Work) -> Reference:
        """What the undisturbed command leaves. It is computed once for all trials; the trial's folder is prepared."""
        name = hashlib.sha256(repr(work).encode()).hexdigest()[:16]
        kept = self.folder / "undisturbed" / name
        kept.mkdir(parents=True, exist_ok=True)
        with open(kept / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (kept / "reference").exists():
                (kept / "reference").write_bytes(pickle.dumps(self._compute(work, kept)))
            reference: Reference = pickle.loads((kept / "reference").read_bytes())
        shutil.rmtree(self.work)
        shutil.copytree(kept / "before", self.work)
        return reference

    def _compute(self, work: Work, kept: Path) -> Reference:
        for words in work.before:
            self.succeed(words)
        shutil.copytree(self.work, kept / "before", dirs_exist_ok=True)
        log = self.place / "log"
        log.touch()
        ended = self.run(work.words, {"log": str(log)})
        if ended.code:
            raise RuntimeError(f"{' '.join(work.words)} fails undisturbed: {ended.err}")
        shutil.copytree(self.work, kept / "after", dirs_exist_ok=True)
        by_process = [line.split()[0] for line in log.read_text().splitlines()]
        changes = max(map(by_process.count, by_process), default=1)
        return Reference(digests(self.work), ended.seconds, changes, kept / "after")


def crowding() -> float:
    """How many processes want to run for each core, at least one."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@contextlib.contextmanager
def trial(kind: str, number: int, seed: int, folder: Path) -> Iterator[Trial]:
    """A trial that is closed at the end."""
    one = Trial(kind, number, seed, folder)
    try:
        yield one
    finally:
        one.close()


def digests(work: Path) -> dict[str, str]:
    """A digest of every file in a folder; for a database, of its records or of the states of its trials."""
    found = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        if path.name in DATABASES:
            found.update(_records(path) if path.name == DATABASES[0] else _states(path))
        elif path.suffix == ".safetensors":
            found[name] = digest(weights(path))
        elif path.is_file() and not path.name.endswith(("-wal", "-shm")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def weights(path: Path) -> tuple[Any, ...]:
    """What a checkpoint or a training state says. Two files that say the same may have it in another order."""
    tensors, header = read_tensors(path)
    return header, {name: tensors[name].tolist() for name in sorted(tensors)}


def _records(path: Path) -> dict[str, str]:
    """A digest of the members of every record."""
    with Store(f"sqlite:///{path}") as store:
        return {f"record {record.run.key}": digest(record.members) for record in store.records()}


def digest(value: object) -> str:
    """A digest of what `repr` shows, which has every bit of a number."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _states(path: Path) -> dict[str, str]:
    """How many trials of a search have ended, and how many seem to be running."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        states = [state for (state,) in connection.execute("SELECT state FROM trials")]
    return {"ended": str(sum(states.count(s) for s in ("COMPLETE", "PRUNED"))), "running": str(states.count("RUNNING"))}


def stored(work: Path) -> dict[str, tuple[Any, ...]]:
    """For every finished run in the store, when it was finished, and when its checkpoints were written."""
    path = work / "home" / "records.sqlite"
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute("SELECT key, finished FROM runs").fetchall()
        except sqlite3.OperationalError:  # no tables yet
            return {}
    folders = {key: work / "home" / "runs" / key for key, _ in rows}
    times = {key: sorted(p.stat().st_mtime_ns for p in folders[key].glob("seed-*")) for key in folders}
    return {key: (finished, *times[key]) for key, finished in rows}


def marked(mark: str) -> dict[int, str]:
    """The processes with this mark in their environment, and all below them, with their command lines."""
    found: dict[int, str] = {}
    waiting = [int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and _has_mark(int(entry), mark)]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if pid not in found and status != "Z":
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                waiting += children_of(pid)
    return found


def _has_mark(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return False


Kind = Callable[[Trial], None]
