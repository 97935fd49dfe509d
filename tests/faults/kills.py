"""Kills at any time, and several drivers on one store."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

from tests.faults import works
from tests.faults.trial import HANG_SECONDS, LONGEST_SECONDS, Ended, Trial, Work, stored
from tests.processes import WORDS, handles

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RESUMABLE = "the same command goes on where this one stopped"


def kill(trial: Trial, choose: Callable[..., Work] | None = None, most: int = 4) -> None:
    """A command is signalled up to `most` times, at a random instant or at a random change of a file.

    It is started again to its end. What it leaves is what an undisturbed one leaves.
    """
    work = (choose or trial.draw.choice(works.WORKS))(trial.draw)
    reference = trial.reference(work)
    for _ in range(trial.draw.randint(1, most)):
        trial.tally.counts["tried"] += 1
        before = stored(trial.work)
        if trial.draw.random() < 0.5:
            at_an_instant(trial, work, reference.seconds)
        else:
            at_a_change(trial, work, reference.changes)
        kept(trial, before)
    before = stored(trial.work)
    trial.finish(work, reference)
    kept(trial, before)


def kept(trial: Trial, before: dict[str, tuple[object, ...]]) -> None:
    """What was finished before is neither lost nor trained again."""
    after = stored(trial.work)
    for key, facts in before.items():
        if key not in after:
            trial.found("lost", f"run {key}")
        elif after[key] != facts:
            trial.found("twice", f"run {key}")


def at_an_instant(trial: Trial, work: Work, seconds: float) -> None:
    """Signals a command, or its whole group, after a random part of its time.

    SIGINT waits until the command handles it: before, Python itself answers.
    """
    number, group = trial.draw.choice(SIGNALS), trial.draw.random() < 0.5
    wait = trial.draw.uniform(0, seconds)
    process = trial.begin(work.words)
    began = time.monotonic()
    if number == signal.SIGINT:
        while process.poll() is None and not handles(process.pid, number):
            time.sleep(0.005)
    time.sleep(max(0.0, began + wait - time.monotonic()))
    if process.poll() is None:
        (os.killpg if group else os.kill)(process.pid, number)
    judge(trial, trial.end(process, HANG_SECONDS), number)


def at_a_change(trial: Trial, work: Work, changes: int) -> None:
    """A process of a command signals itself, or its whole group, right before it changes a file."""
    number, group = trial.draw.choice(SIGNALS), trial.draw.random() < 0.5
    at, once = trial.draw.randint(1, max(1, changes)), trial.place / f"struck-{len(trial.begun)}"
    process = trial.begin(work.words, {"signal": number, "group": group, "at": at, "once": str(once)})
    while process.poll() is None and not once.exists():
        time.sleep(0.02)
    judge(trial, ended_after(trial, process, group), number)


def ended_after(trial: Trial, process: "subprocess.Popen[str]", group: bool) -> Ended:
    """The command after a signal. A worker that was signalled alone is replaced, and the command goes on to its end."""
    return trial.end(process, HANG_SECONDS if group else LONGEST_SECONDS)


def judge(trial: Trial, ended: Ended, number: signal.Signals) -> None:
    """A signalled command ends by the signal, or with one line; or it has just ended, or goes on without a worker."""
    silent = ended.lines == [] and ended.code in (0, -number)
    words = ended.lines[-1] if ended.lines else ""
    told = len(ended.lines) == 1 and words.endswith(RESUMABLE)
    right = told and ended.code in (1, 2)
    if number in WORDS:
        right = right or (told and ended.code == 128 + number and WORDS[number] in words)
    killed = number == signal.SIGKILL and ended.code == -number
    trial.require(silent or right or killed, ended, f"{number.name} to a command")


def drivers(trial: Trial, choose: Callable[..., Work] | None = None, most: int = 3) -> None:
    """Two commands or more at the same time, of which one may be killed: each run is trained once, to the same end."""
    work = (choose or trial.draw.choice((works.train, works.study)))(trial.draw)
    reference = trial.reference(work)
    trial.tally.counts["tried"] += 1
    log = trial.place / "changes"
    log.touch()
    processes = []
    for _ in range(trial.draw.randint(2, most)):
        time.sleep(trial.draw.uniform(0, 0.5))
        processes.append(trial.begin(work.words, {"log": str(log)}))
    killed = trial.draw.random() < 0.5
    if killed:
        time.sleep(trial.draw.uniform(0, 1.5 * reference.seconds))
        (os.killpg if trial.draw.random() < 0.5 else os.kill)(processes[0].pid, signal.SIGKILL)
        trial.end(processes.pop(0), HANG_SECONDS)
    for process in processes:
        ended = trial.end(process)
        trial.require(ended.code == 0 and ended.lines == [], ended, "a driver beside others")
    written = Counter(re.findall(r"os\.rename \S*/runs/(\w+/seed-\S+)", log.read_text()))
    for name, times in written.items():
        if times > 1 + killed:  # a killed driver may have written it before it could store the record
            trial.found("twice", f"{name}, {times} times")
    trial.compare(reference)
