"""A database server that is restarted, and a Ray cluster that loses workers or its head."""

import contextlib
import importlib.util
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import works
from tests.faults.trial import Trial, Work, digest, digests, marked
from tests.storage.test_server import PROGRAMS, Server, port_of

from fwplab.storage.store import Store

HAS_SERVER = bool(PROGRAMS)
HAS_RAY = importlib.util.find_spec("ray") is not None
CLUSTER_PARTS = {"worker": "ray::", "head": "gcs_server", "node": "raylet/raylet"}


@contextlib.contextmanager
def server(trial: Trial) -> Iterator[Server]:
    """A server of the trial's own, in a folder that its user can enter."""
    folder = Path("/tmp") / f"fwplab-faults-{trial.mark[:12]}"
    running = Server(folder, port_of(int(trial.mark[:6], 16)))
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def restarted(trial: Trial, choose: Callable[..., Work] | None = None) -> None:
    """The server with the store is restarted once or twice while runs are trained: none is lost, none is repeated."""
    work = (choose or trial.draw.choice((works.train, works.study)))(trial.draw)
    reference = trial.reference(work)
    trial.tally.counts["tried"] += 1
    log = trial.place / "changes"
    log.touch()
    waits = [trial.draw.uniform(0, reference.seconds) for _ in range(trial.draw.choice((1, 2)))]
    pause = trial.draw.uniform(0, 1)
    with server(trial) as running:
        process = trial.begin(work.words, {"log": str(log)}, FWPLAB_STORE=running.url)
        stopper = threading.Thread(target=restart, args=(running, waits, pause))
        stopper.start()
        ended = trial.end(process)
        stopper.join()
        trial.require(ended.code == 0 and ended.lines == [], ended, "a server that was restarted")
        with Store(running.url) as store:
            found = {f"record {record.run.key}": digest(record.members) for record in store.records()}
    for name, expected in {n: d for n, d in reference.files.items() if n.startswith("record ")}.items():
        if found.get(name) != expected:
            trial.found("bits" if name in found else "lost", name)
    files = {name: each for name, each in digests(trial.work).items() if "/runs/" in name}
    for name in files.keys() - reference.files.keys():
        trial.found("left", name)


def restart(running: Server, waits: list[float], pause: float) -> None:
    """Stops the server after each wait, and starts it again after a pause."""
    for wait in waits:
        time.sleep(wait)
        running.stop()
        time.sleep(pause)
        running.start()


def cluster(trial: Trial) -> None:
    """A worker, a node, the head of the cluster, or the driver is killed. Started again, it ends with the same bits."""
    work = Work((*works.STUDY, "2"))
    reference = trial.reference(work)
    trial.tally.counts["tried"] += 1
    part = trial.draw.choice((*CLUSTER_PARTS, "driver"))
    process = trial.begin((*work.words, "--engine", "ray"))
    wait = trial.draw.uniform(0, 10)
    began = time.monotonic()
    while process.poll() is None and not any("ray::" in words for words in marked(trial.mark).values()):
        time.sleep(0.1)  # until the cluster has workers
        if time.monotonic() > began + 200:
            break
    time.sleep(wait / 5)
    processes = marked(trial.mark)
    found = [pid for pid, words in processes.items() if part != "driver" and CLUSTER_PARTS[part] in words]
    for pid in [process.pid] if part == "driver" else trial.draw.sample(found, min(1, len(found))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended = trial.end(process)
    told = ended.code in (1, 2) and bool(ended.lines) and ended.lines[-1].startswith("fwplab: ")
    trial.require(ended.code in (0, -signal.SIGKILL) or told, ended, f"Ray without its {part}")
    trial.succeed(work.words)
    trial.compare(reference)
