"""Files that were cut or whose bits were flipped: told in one line, never believed."""

import contextlib
import io
import os
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults import works
from tests.faults.kills import at_a_change
from tests.faults.trial import Trial, digest, weights

from fwplab.data.imported import corpus_splits, reference
from fwplab.data.splits import SplitSpec
from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.storage.archive import open_archive, write_archive
from fwplab.storage.listing import list_runs
from fwplab.storage.store import Store
from fwplab.training.checkpoint import load_checkpoint
from fwplab.training.record import Record
from fwplab.training.run import Run
from fwplab.training.trainer import RESUME, train, train_until

RANDOM_DAMAGES = 200
TRAINED_ON = 1_000
"""Of so many damaged training states one is trained on, which takes longer than to read it."""
PARITY = load_language("parity")
TRAINED = works.training("lstm", seeds=2, workers=1)
Read = Callable[[], Any]


def damaged(content: bytes, trial: Trial) -> bytes:
    """The content with a random damage: cut, one bit flipped, or a block of zeros."""
    kind, place = trial.draw.choice(("cut", "flip", "flip", "zeros")), trial.draw.randrange(len(content))
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        return content[:place] + bytes([content[place] ^ 1 << trial.draw.randrange(8)]) + content[place + 1 :]
    end = min(len(content), place + trial.draw.choice((1, 16, 512)))
    return content[:place] + bytes(end - place) + content[end:]


def every(trial: Trial, content: bytes, cuts: range, damages: int) -> Iterator[bytes]:
    """The content cut at each of these bytes, and with this many random damages."""
    for place in cuts:
        yield content[:place]
    for _ in range(damages):
        changed = damaged(content, trial)
        if changed != content:
            yield changed


def look(trial: Trial, read: Read, expected: Any, what: str) -> None:
    """Reads a damaged file. It is refused in one line, or what it gives is what was written."""
    trial.tally.counts["tried"] += 1
    try:
        with warnings.catch_warnings(record=True) as told, contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("always")
            found = read()
    except UserError as error:
        if "\n" in str(error):
            trial.found("answers", f"{what}: {error}")
    except Exception as error:
        trial.found("tracebacks", f"{what}: {type(error).__name__}: {error}")
    else:
        if any("\n" in str(each.message) for each in told):
            trial.found("answers", f"{what}: {told[0].message}")
        if not believable(found, expected):
            trial.found("believed", what)


def believable(found: Any, expected: Any) -> bool:
    """Whether what was read was written: all of it, or for a collection, each of what is left."""
    if isinstance(expected, frozenset):
        return set(found) <= expected
    return bool(found == expected)


def trained(trial: Trial) -> tuple[Path, Run]:
    """A finished run in the home of this process, and the folder of its checkpoints."""
    undisturbed = trial.reference(TRAINED)
    shutil.rmtree(trial.work)
    shutil.copytree(undisturbed.folder, trial.work)
    (folder,) = (trial.work / "home" / "runs").iterdir()
    return folder, load_checkpoint(next(folder.glob("seed-*"))).run


def checkpoints(trial: Trial, damages: int, *, sweep: bool) -> None:
    """A checkpoint: cut at every byte of its header, and damaged at random."""
    folder, _ = trained(trial)
    path = trial.draw.choice(sorted(folder.glob("seed-*")))
    content = path.read_bytes()

    def read() -> str:
        return digest((load_checkpoint(path).checked, weights(path)))

    expected = read()
    header = range(8 + int.from_bytes(content[:8], "little")) if sweep else range(0)
    for changed in every(trial, content, header, damages):
        path.write_bytes(changed)
        look(trial, read, expected, "a checkpoint")


def states(trial: Trial, damages: int, *, sweep: bool) -> None:
    """A training state: read as a checkpoint is, and at times trained on, which ends with the same bits."""
    folder, run = trained(trial)
    whole = [digest(weights(path)) for path in sorted(folder.glob("seed-*"))]
    with contextlib.redirect_stderr(io.StringIO()):
        train_until(30, run, folder=folder)
    path = folder / RESUME
    content = path.read_bytes()

    def read() -> str:
        return digest(weights(path))

    def go_on() -> list[str]:
        train(run, folder=folder)
        return [digest(weights(each)) for each in sorted(folder.glob("seed-*"))]

    expected = read()
    header = range(8 + int.from_bytes(content[:8], "little")) if sweep else range(0)
    for place, changed in enumerate(every(trial, content, header, damages)):
        path.write_bytes(changed)
        look(trial, read, expected, "a training state")
        if place % TRAINED_ON == TRAINED_ON - 1:
            look(trial, go_on, whole, "a training from a damaged state")


def commands(trial: Trial, damages: int, *, sweep: bool) -> None:
    """A training is killed, and its state damaged: the command begins this run anew, says so, and ends with the same
    bits."""
    undisturbed = trial.reference(TRAINED)
    trial.tally.counts["tried"] += 1
    at_a_change(trial, TRAINED, undisturbed.changes)
    for path in sorted(trial.work.rglob(RESUME)):
        path.write_bytes(damaged(path.read_bytes(), trial))
    ended = trial.run(TRAINED.words)
    right = ended.code == 0 and all(" begins anew: " in line for line in ended.lines)
    trial.require(right, ended, "a training whose state is damaged")
    trial.compare(undisturbed)


def databases(trial: Trial, damages: int, *, sweep: bool) -> None:
    """The file of the store: what is shown of it is what was written, and the rest is named."""
    trained(trial)
    for log in trial.work.glob("home/records.sqlite-*"):
        log.unlink()
    path = trial.work / "home" / "records.sqlite"

    def read() -> set[str]:
        with Store(f"sqlite:///{path}") as store:
            return set(map(facts, store.records()))

    def listed() -> set[str]:
        return {digest(fact) for fact in list_runs()}

    expected, shown = frozenset(read()), frozenset(listed())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    content = path.read_bytes()
    for changed in every(trial, content, range(1, 200) if sweep else range(0), damages):
        for log in trial.work.glob("home/records.sqlite-*"):
            log.unlink()
        path.write_bytes(changed)
        look(trial, listed, shown, "the list of runs")
        path.write_bytes(changed)
        look(trial, read, expected, "a store")
    path.write_bytes(content)
    believable_values(trial, path, read, expected, listed, shown)


def facts(record: Record) -> str:
    """A digest of all of a record, with NaN as one value."""
    return digest(record)


VALUES: tuple[tuple[str, str], ...] = (
    ("scores", "correct = max(0, correct - 1)"),
    ("scores", "strings = strings + 1"),
    ("checks", "bin0_accuracy = bin0_accuracy / 2 + 0.1"),
    ("checks", "train_loss = train_loss + 0.001"),
    ("checks", "step = step + 1"),
    ("members", "steps = steps - 1"),
    ("members", "status = 'solved'"),
    ("chance", "majority = majority / 2 + 0.01"),
    ("splits", "longest = longest + 1"),
    ("runs", "seconds = seconds + 1"),
    ("runs", "parameters = parameters + 1"),
    ("runs", "environment = replace(environment, '1', '2')"),
    ("runs", "spec = replace(spec, '\"max_steps\": 40', '\"max_steps\": 39')"),
)
"""Changes of values to others that a training could have written."""


def believable_values(trial: Trial, path: Path, read: Read, expected: object, listed: Read, shown: object) -> None:
    """Values in the database that were changed to others that could be true."""
    content = path.read_bytes()
    for table, change in VALUES:
        path.write_bytes(content)
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE {table} SET {change}")
        look(trial, read, expected, f"{table}: {change}")
        if table in ("runs", "members"):
            look(trial, listed, shown, f"the list of runs after {table}: {change}")


def corpora(trial: Trial, damages: int, *, sweep: bool) -> None:
    """The files of an imported corpus."""
    imported = trial.reference(works.corpus_import(trial.draw))
    shutil.rmtree(trial.work)
    shutil.copytree(imported.folder, trial.work)
    name = reference("mine", PARITY)
    spec = SplitSpec(train_strings=64, validation_strings=20, test_strings=2)

    def read() -> str:
        return digest((reference("mine", PARITY), corpus_splits(name, PARITY, spec).named()))

    expected, paths = read(), sorted((trial.work / "home" / "corpora" / "mine").iterdir())
    for path in paths:
        content = path.read_bytes()
        for changed in every(trial, content, range(0, len(content), 50) if sweep else range(0), damages // len(paths)):
            path.write_bytes(changed)
            look(trial, read, expected, f"a corpus with a damaged {path.name}")
        path.write_bytes(content)


def archives(trial: Trial, damages: int, *, sweep: bool) -> None:
    """The files of an archive of records."""
    _, run = trained(trial)
    folder = trial.place / "archive"
    with Store() as store:
        write_archive([store], [run.key], folder)

    def read() -> set[str]:
        with open_archive(folder) as store:
            return set(map(facts, store.records()))

    expected, paths = read(), sorted(folder.iterdir())
    for path in paths:
        content = path.read_bytes()
        for changed in every(trial, content, range(0, len(content), 200) if sweep else range(0), damages // len(paths)):
            path.write_bytes(changed)
            look(trial, read, expected, f"an archive with a damaged {path.name}")
        path.write_bytes(content)


SORTS = (checkpoints, states, databases, corpora, archives, commands)


def damage(trial: Trial) -> None:
    """Files of one sort. The first trials cut them at every byte of their headers too."""
    one(trial, SORTS[trial.number % len(SORTS)], RANDOM_DAMAGES, sweep=trial.number < len(SORTS))


def one(trial: Trial, sort: Callable[..., None], damages: int, *, sweep: bool) -> None:
    """Files of this sort, in a FWPLAB_HOME of this process."""
    before = os.environ.get("FWPLAB_HOME")
    os.environ["FWPLAB_HOME"] = str(trial.work / "home")
    try:
        sort(trial, damages, sweep=sweep)
    finally:
        os.environ.pop("FWPLAB_HOME") if before is None else os.environ.update(FWPLAB_HOME=before)
