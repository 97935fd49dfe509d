"""Files are written completely or not at all, synced to disk, and leftovers of killed processes are removed."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.storage.test_store import RUN, record_of

from fwplab.data.corpus import make_corpus, write
from fwplab.data.imported import corpus_splits, import_corpus, reference
from fwplab.data.splits import SplitSpec, make_splits
from fwplab.errors import UserError
from fwplab.files import CHECKSUMS, replaced
from fwplab.languages import load_language
from fwplab.processes import has_ended, this_process
from fwplab.storage.archive import write_archive
from fwplab.storage.store import Store

PARITY = load_language("parity")
SPEC = SplitSpec(train_strings=40, validation_strings=20, test_strings=5, test_lengths=((2, 50),))


def write_file(folder: Path) -> None:
    with replaced(folder / "file.txt") as temporary:
        temporary.write_text("written")


def write_corpus(folder: Path) -> None:
    write(make_corpus(PARITY, make_splits(PARITY, SPEC).named()), folder / "corpus", "bhattamishra")


def write_records(folder: Path) -> None:
    with Store("sqlite:///:memory:") as store:
        store.save(record_of(RUN))
        write_archive([store], [RUN.key], folder)


WRITERS = (write_file, write_corpus, write_records)
KILLED_SCRIPT = """
import os, signal, sys
from pathlib import Path
import fwplab.files
import tests.test_files
fwplab.files.sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
for module in list(sys.modules.values()):
    if getattr(module, "sync", None) is not None and module.__name__.startswith("fwplab"):
        module.sync = fwplab.files.sync
getattr(tests.test_files, sys.argv[2])(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("writer", WRITERS)
def test_temporary_files_of_a_killed_process_are_removed_by_the_next_write(
    writer: Callable[[Path], None], tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-c", KILLED_SCRIPT, str(folder), writer.__name__]
    assert subprocess.run(command, check=False, env=environment).returncode == -signal.SIGKILL
    left = list(folder.glob(".*"))
    assert len(left) == 1
    owner = left[0].name.partition("~")[0].rpartition(".")[2]
    other = folder / left[0].name.replace(owner, this_process())
    other.touch()  # belongs to a running process
    writer(folder)
    assert list(folder.glob(".*")) == [other]


@pytest.mark.parametrize("writer", WRITERS)
def test_files_are_synced_before_their_folder(
    writer: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def record(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))

    monkeypatch.setattr(os, "fsync", record)
    folder = tmp_path / "folder"
    folder.mkdir()
    writer(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert synced[-1] == str(folder)
    assert len([path for path in synced[:-1] if os.path.basename(path) != "corpus"]) == len(files)


def test_has_ended_recognises_running_and_ended_processes() -> None:
    assert not has_ended(this_process())
    child = subprocess.Popen([sys.executable, "-c", "from fwplab.processes import *; print(this_process())"], stdout=-1)
    assert child.stdout is not None
    name = child.stdout.readline().decode().strip()
    while not has_ended(name):  # the process may still be ending
        pass
    child.communicate()
    assert has_ended(name)
    place, number, start = this_process().split("-")
    assert has_ended(f"{place}-{number}-{int(start) - 1}")  # an earlier process with the same number
    assert not has_ended(f"00000000-{number}-{start}")  # a process on another machine
    assert not has_ended("nonsense")


def test_every_change_of_an_imported_corpus_is_an_error(tmp_path: Path, home: Path) -> None:
    write_corpus(tmp_path)
    name, _ = import_corpus(tmp_path / "corpus", PARITY, "mine")
    assert reference("mine", PARITY) == name
    draw, folder = random.Random(0), home / "corpora" / "mine"
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in draw.sample(range(len(content)), 30):
            flipped = bytearray(content)
            flipped[place] ^= 1 << draw.randrange(8)
            for damaged in (flipped, content[:place]):
                path.write_bytes(damaged)
                with pytest.raises(UserError, match=r"has changed since it was written"):
                    reference("mine", PARITY)
                with pytest.raises(UserError, match=r"has changed since it was written"):
                    corpus_splits(name, PARITY, SPEC)
        path.write_bytes(content)
    (folder / CHECKSUMS).unlink()  # former versions wrote no checksums
    assert reference("mine", PARITY) == name


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    writer: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "any words")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device; choose a writable folder"):
        writer(tmp_path / "new")
    assert [path for path in tmp_path.rglob("*") if path.name != "new"] == []


def test_a_long_name_is_written(tmp_path: Path) -> None:
    with replaced(tmp_path / (240 * "n" + ".txt")) as temporary:
        temporary.write_text("written")
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="File name too long"), replaced(tmp_path / (300 * "n")):
        pass
