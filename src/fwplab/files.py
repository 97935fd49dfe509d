"""Where things are kept, and writing them whole or not at all."""

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
    """The folder of records, checkpoints and corpora: `FWPLAB_HOME`, or a folder of the user's data directory."""
    folder = Path(os.environ.get("FWPLAB_HOME") or platformdirs.user_data_path("fwplab")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"FWPLAB_HOME is no folder that can be written: {folder} ({error.strerror})") from error
    return folder


def check_writable(path: Path) -> None:
    """A `UserError` where `replaced` could not write; asked before long work whose result goes there."""
    with _told(path):
        if not _is_special(path):
            _beside(_target(path)).unlink()


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file to write into; it becomes `path` in one step when the block ends well.

    A symbolic link stays one: what it points to is replaced. A pipe or a device is sent the bytes.
    """
    with _told(path):
        special, target = _is_special(path), _target(path)
        temporary = _beside(Path(tempfile.gettempdir()) / path.name if special else target)
        try:
            yield temporary
            if special:
                with temporary.open("rb") as written, path.open("wb") as out:
                    shutil.copyfileobj(written, out)
            else:
                _put(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    """Whether `path` is a pipe or a device."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _beside(path: Path) -> Path:
    """An empty temporary file on the disk of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    return Path(name)


def _put(temporary: Path, target: Path) -> None:
    """Makes `temporary` the file `target`, safely on the disk and with the rights of any new file."""
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    temporary.replace(target)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system says of `path` as a `UserError`."""
    try:
        yield
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"cannot write {path}: {why}; choose a file in a folder with room that you may use") from error
