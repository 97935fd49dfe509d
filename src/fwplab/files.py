"""The folder of all results, atomic writing of files, and the checksums of a folder."""

import errno
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from fwplab.errors import UserError, shown
from fwplab.processes import has_ended, this_process

CHECKSUMS = "SHA256SUMS"
LONGEST_STEM = 100
"""The part of a file's name that its temporary's name has; a name has at most 255 bytes."""


def home() -> Path:
    """The folder of records, checkpoints and corpora: `FWPLAB_HOME`, or a folder in the user's data directory.

    It is created if it does not exist. Raises `UserError` if that fails.
    """
    folder = home_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"FWPLAB_HOME is not a writable folder: {folder} ({error.strerror})") from error
    return folder


def home_folder() -> Path:
    """The path of `home`, which need not exist. Raises `UserError` if it is no path."""
    chosen = os.environ.get("FWPLAB_HOME") or str(platformdirs.user_data_path("fwplab"))
    try:
        chosen.encode()
        return Path(chosen).expanduser()
    except (UnicodeEncodeError, RuntimeError) as error:  # not valid UTF-8, or the home of an unknown user
        raise UserError(f"FWPLAB_HOME is no folder: {shown(chosen)}; choose another") from error


def check_writable(path: Path) -> None:
    """Raises `UserError` if `replaced` could not write `path`. Call it before long work whose result goes there."""
    with writes_to(path):
        if not _is_special(path):
            _temporary_file(_target(path)).unlink()


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file to write into; it replaces `path` in one step if the block succeeds.

    If `path` is a symbolic link, the file that it points to is replaced. A pipe or a device receives the bytes instead.
    """
    with writes_to(path):
        special, target = _is_special(path), _target(path)
        temporary = _temporary_file(Path(tempfile.gettempdir()) / path.name if special else target)
        try:
            yield temporary
            if special:
                with temporary.open("rb") as written, path.open("wb") as out:
                    shutil.copyfileobj(written, out)
            else:
                _move(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    with suppress(FileNotFoundError):
        os.stat(path)  # the name is too long, or a folder of the path is a file
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    """Whether `path` is a pipe or a device."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _temporary_file(path: Path) -> Path:
    """An empty temporary file in the folder of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_temporary_prefix(path), suffix=path.suffix)
    os.close(handle)
    return Path(name)


@contextmanager
def temporary_folder(near: Path) -> Iterator[Path]:
    """An empty folder beside `near`, which is removed at the end, with what is left in it."""
    near.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=near.parent, prefix=_temporary_prefix(near)) as folder:
        yield Path(folder)


def _temporary_prefix(path: Path) -> str:
    """The beginning of a temporary's name. Temporaries for `path` that killed processes have left are removed first."""
    stem = f".{path.stem[:LONGEST_STEM]}."
    for old in path.parent.glob(f"{glob.escape(stem)}*~*"):
        if has_ended(old.name.removeprefix(stem).partition("~")[0]):
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    return f"{stem}{this_process()}~"


def _move(temporary: Path, target: Path) -> None:
    """Renames `temporary` to `target`, after its contents are on the disk, with the permissions of a new file."""
    sync(temporary)
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    temporary.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Waits until a file's contents, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # which opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Writes the checksums of these files of a folder to its file `CHECKSUMS`, as the program `sha256sum` does."""
    (folder / CHECKSUMS).write_text("".join(_checksums(folder, names).values()), "utf-8", newline="\n")
    sync(folder / CHECKSUMS)


def check_checksums(folder: Path, names: Iterable[str]) -> bool:
    """Whether the folder has checksums of these files; former versions wrote none.

    Raises `UserError` if a file has changed since then.
    """
    if not (folder / CHECKSUMS).exists():
        return False
    if missing := [name for name in names if not (folder / name).exists()]:
        raise UserError(f"{folder} lacks its file {missing[0]}")
    written, found = (folder / CHECKSUMS).read_bytes().decode("latin-1"), _checksums(folder, names)
    if written != "".join(found.values()):
        changed = next((name for name, line in found.items() if line not in written), CHECKSUMS)
        raise UserError(f"{folder / changed} has changed since it was written: the checksums in {CHECKSUMS} differ")
    return True


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The line of each file in `CHECKSUMS`."""
    contents = {name: (folder / name).read_bytes() for name in sorted(names)}
    return {name: f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()}


@contextmanager
def writes_to(path: Path) -> Iterator[None]:
    """Turns an `OSError` in the block, which writes `path`, into a `UserError`."""
    try:
        yield
    except BrokenPipeError:  # the program that reads our output, such as `head`, has ended
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"cannot write {path}: {why}; choose a writable folder on a disk with free space") from error
