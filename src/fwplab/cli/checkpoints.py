"""Finds the checkpoint that the user names on the command line."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from fwplab.errors import UserError, shown
from fwplab.files import home
from fwplab.training.protocol import Rule

if TYPE_CHECKING:
    from fwplab.training.checkpoint import Checkpoint


def find_checkpoint(name: str, rule: Rule) -> "Checkpoint":
    """The checkpoint with this name. Raises `UserError` if there is none.

    name: the path of a checkpoint file; the key of a run, for its lowest seed; or LANGUAGE/MIXER or
        LANGUAGE/MIXER:START, for a checkpoint that comes with the package.
    rule: the selection rule, for the key of a run.
    """
    from fwplab.storage.archive import shipped_checkpoints
    from fwplab.training.checkpoint import load_checkpoint

    of_run: list[Path] = []
    with contextlib.suppress(OSError):  # the name may be too long for a file name
        if Path(name).is_file():
            return load_checkpoint(Path(name))
        of_run = list((home() / "runs" / name).glob(f"seed-*-{rule}.safetensors")) if name.isalnum() else []
    if of_run:
        return load_checkpoint(min(of_run, key=lambda path: int(path.name.split("-")[1])))
    shipped = {_cell(path): path for path in shipped_checkpoints()}
    if name in shipped:
        return load_checkpoint(shipped[name])
    of_language = [cell for cell in shipped if cell.startswith(f"{name.partition('/')[0]}/")]
    choices = of_language or [cell for cell in shipped if ":" not in cell]  # all of them are too long for a line
    raise UserError(
        f"no checkpoint {shown(name)}: give a checkpoint file, the key of a run with a checkpoint of the {rule} rule "
        f"(fwplab runs), or one of the package; choose from: {', '.join(sorted(choices))}"
    )


def _cell(path: Path) -> str:
    """LANGUAGE/MIXER, or LANGUAGE/MIXER:START for another start than the published one."""
    from fwplab.tables.rows import start_of
    from fwplab.training.checkpoint import read_header
    from fwplab.training.run import Run
    from fwplab.training.spec import from_dict

    run = from_dict(Run, read_header(path)["run"])
    start = start_of(run).replace(" ", "-")
    return f"{run.language}/{run.mixer_name}{f':{start}' if start else ''}"
