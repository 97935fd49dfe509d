"""What a command means by the name of a checkpoint."""

import contextlib
from pathlib import Path

from fwplab.archive import shipped_checkpoints
from fwplab.checkpoint import Checkpoint, load_checkpoint, read_header
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.run import Rule


def find_checkpoint(name: str, rule: Rule) -> Checkpoint:
    """The checkpoint that a name means: a file, a run's key (its first seed), or LANGUAGE/MIXER of the package."""
    of_run: list[Path] = []
    with contextlib.suppress(OSError):  # no name that a file could have
        if Path(name).is_file():
            return load_checkpoint(Path(name))
        of_run = list((home() / "runs" / name).glob(f"seed-*-{rule}.safetensors")) if name.isalnum() else []
    if of_run:
        return load_checkpoint(min(of_run, key=lambda path: int(path.name.split("-")[1])))
    shipped = {_cell(path): path for path in shipped_checkpoints()}
    if name in shipped:
        return load_checkpoint(shipped[name])
    shown = name if len(name) < 80 else f"{name[:80]}..."
    raise UserError(
        f"{shown!r} is no checkpoint's file, no run with a checkpoint of the {rule} rule (fwplab runs), and none of "
        f"the package's: {', '.join(sorted(shipped))}"
    )


def _cell(path: Path) -> str:
    run = read_header(path)["run"]
    return f"{run['language']}/{run['mixer']['name']}"
