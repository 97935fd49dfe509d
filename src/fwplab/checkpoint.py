"""Weights on disk: safetensors with the spec as JSON in its header, one file, written whole or not at all."""

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
from fwplab.model import Model
from fwplab.population import load
from fwplab.run import Rule, Run, from_dict, to_dict


@dataclass(frozen=True)
class Checkpoint:
    """A member's weights at the step that a selection rule chose, and the run they come from."""

    run: Run
    seed: int
    rule: Rule
    step: int
    weights: dict[str, Tensor]

    def model(self) -> Model:
        """The model with these weights; a warning where its layer's code has changed since they were trained."""
        if self.run.code != self.run.code_here:
            line = f"fwplab: the code of {self.run.mixer_name!r} has changed since run {self.run.key} was trained"
            warnings.warn(line, RuntimeWarning, stacklevel=2)
        return load(self.run.build(self.seed), self.weights)


def checkpoint_path(folder: Path, seed: int, rule: Rule) -> Path:
    """Where a run's folder keeps the checkpoint of one member under one rule."""
    return folder / f"seed-{seed}-{rule}.safetensors"


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes `path` whole or not at all."""
    facts = {"run": to_dict(checkpoint.run), "seed": checkpoint.seed, "rule": checkpoint.rule, "step": checkpoint.step}
    write_tensors(path, checkpoint.weights, facts)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; a `UserError` for anything else. Nothing in the file can run code."""
    tensors, facts = read_tensors(path)
    if "rule" not in facts:
        raise UserError(f"{path} is no checkpoint of a finished run; choose a seed-*.safetensors of a run's folder")
    return Checkpoint(from_dict(Run, facts["run"]), facts["seed"], facts["rule"], facts["step"], tensors)


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """One safetensors file with `facts` as JSON in its header."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replaced(path) as temporary:
        try:
            save_file(whole, temporary, metadata={"fwplab": json.dumps(facts)})
        except SafetensorError as error:  # the disk is full
            raise UserError(f"cannot write {path}: {error}; the same command goes on where this one stopped") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `write_tensors`."""
    with _opened(path) as (file, facts):
        return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in the header alone."""
    with _opened(path) as (_, facts):
        return facts


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file, json.loads((file.metadata() or {})["fwplab"])
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is no fwplab checkpoint ({type(error).__name__}: {error})") from error


def clone_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy that later training leaves alone."""
    return {name: torch.clone(tensor.detach()) for name, tensor in weights.items()}
