"""Weights on disk: one safetensors file with the spec as JSON in its header, written atomically."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fwplab.errors import UserError
from fwplab.files import replaced
from fwplab.model.model import Model
from fwplab.model.population import load
from fwplab.training.run import Rule, Run
from fwplab.training.spec import from_dict, to_dict


@dataclass(frozen=True)
class Checkpoint:
    """A member's weights at the step that a selection rule chose, and the run that they belong to."""

    run: Run
    """The run."""
    seed: int
    """The member's seed."""
    rule: Rule
    """The rule that selected these weights."""
    step: int
    """The number of training steps before them."""
    weights: dict[str, Tensor]
    """The parameters of the model by name."""

    def model(self) -> Model:
        """The model with these weights. Warns if the code of its mixer or language has changed since training."""
        if self.run.code != self.run.code_here:
            line = f"fwplab: the code of {self.run.mixer_name!r} has changed since run {self.run.key} was trained"
            warnings.warn(line, RuntimeWarning, stacklevel=2)
        return load(self.run.build(self.seed), self.weights)


def checkpoint_path(folder: Path, seed: int, rule: Rule) -> Path:
    """The file in a run's folder for the checkpoint of one member under one rule."""
    return folder / f"seed-{seed}-{rule}.safetensors"


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint to `path` atomically."""
    header = {"run": to_dict(checkpoint.run), "seed": checkpoint.seed, "rule": checkpoint.rule, "step": checkpoint.step}
    write_tensors(path, checkpoint.weights, header)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint. The file cannot run code.

    Raises `UserError` if `path` is no checkpoint.
    """
    tensors, header = read_tensors(path)
    if "rule" not in header:
        raise UserError(f"{path} is no checkpoint of a finished run; choose a seed-*.safetensors of a run's folder")
    return Checkpoint(from_dict(Run, header["run"]), header["seed"], header["rule"], header["step"], tensors)


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Writes one safetensors file, with `header` as JSON in its metadata."""
    on_cpu = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replaced(path) as temporary:
        try:
            save_file(on_cpu, temporary, metadata={"fwplab": json.dumps(header)})
        except SafetensorError as error:  # the disk is full
            raise UserError(f"cannot write {path}: {error}; the same command goes on where this one stopped") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file that `write_tensors` wrote."""
    with _open_file(path) as (file, header):
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file that `write_tensors` wrote, without its tensors."""
    with _open_file(path) as (_, header):
        return header


@contextmanager
def _open_file(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file, json.loads((file.metadata() or {})["fwplab"])
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no fwplab checkpoint ({type(error).__name__}: {error})") from error


def clone_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy that further training does not change."""
    return {name: torch.clone(tensor.detach()) for name, tensor in weights.items()}
