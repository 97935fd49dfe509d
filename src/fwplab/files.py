"""The folder of all results, and atomic writing of files."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from fwplab.errors import UserError


def home() -> Path:
    """The folder of records, checkpoints and corpora: `FWPLAB_HOME`, or a folder in the user's data directory.

    It is created if it does not exist. Raises `UserError` if that fails.
    """
    folder = Path(os.environ.get("FWPLAB_HOME") or platformdirs.user_data_path("fwplab")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"FWPLAB_HOME is not a writable folder: {folder} ({error.strerror})") from error
    return folder


def check_writable(path: Path) -> None:
    """Raises `UserError` if `replaced` could not write `path`. Call it before long work whose result goes there."""
    with _user_errors(path):
        if not _is_special(path):
            _temporary_file(_target(path)).unlink()


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file to write into; it replaces `path` in one step if the block succeeds.

    If `path` is a symbolic link, the file that it points to is replaced. A pipe or a device receives the bytes instead.
    """
    with _user_errors(path):
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
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    """Whether `path` is a pipe or a device."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _temporary_file(path: Path) -> Path:
    """An empty temporary file in the folder of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    return Path(name)


def _move(temporary: Path, target: Path) -> None:
    """Renames `temporary` to `target`, after its contents are on the disk, with the permissions of a new file."""
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    temporary.replace(target)


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Turns an `OSError` in the block into a `UserError` about `path`."""
    try:
        yield
    except BrokenPipeError:  # the program that reads our output, such as `head`, has ended
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"cannot write {path}: {why}; choose a writable folder on a disk with free space") from error
