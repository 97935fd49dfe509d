"""Where things are kept, and writing them whole or not at all."""

import os
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


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write into; it becomes `path` in one step when the block ends well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
