"""Weights on disk: one safetensors file with the spec as JSON in its header, written atomically, with a checksum."""

import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from fwplab.errors import UserError, shown
from fwplab.files import replaced
from fwplab.model.model import Model
from fwplab.model.population import load
from fwplab.training.run import Rule, Run
from fwplab.training.spec import from_dict, to_dict

CHECKSUM = "sha256"
BLANK = "0" * 64


class DamagedError(UserError):
    """A file of weights that cannot be read, or whose contents have changed since it was written."""


def damaged(path: Path, error: Exception) -> DamagedError:
    """The error for a file that cannot be read because of `error`."""
    why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return DamagedError(f"{path} is no fwplab checkpoint, or it is damaged ({why})")


@dataclass(frozen=True)
class Facts:
    """The header of a checkpoint."""

    run: Run
    seed: int
    rule: Rule
    step: int

    def __post_init__(self) -> None:
        if self.seed not in self.run.seeds or self.step < 0:
            raise UserError(f"seed {self.seed} at step {self.step} is no member of run {self.run.key}")


@dataclass(frozen=True)
class TrainingFacts:
    """The header of the state of a training."""

    run: Run
    step: int
    seconds: float
    members: tuple[dict[str, Any], ...]


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
    checked: bool = True
    """Whether the file that they were read from had a checksum; files of former versions had none."""

    def model(self) -> Model:
        """The model with these weights. Warns if the code of its mixer or language has changed since training.

        Raises `UserError` if the weights are not those of the run's model.
        """
        if self.run.code != self.run.code_here:
            line = f"fwplab: the code of {self.run.mixer_name!r} has changed since run {self.run.key} was trained"
            warnings.warn(line, RuntimeWarning, stacklevel=2)
        self._check_size()
        return load(self.run.build(self.seed), self.weights)

    def _check_size(self) -> None:
        """Raises `UserError` if the run's model is wider or deeper than the weights, before memory is allocated."""
        readout = self.weights.get("readout.weight", torch.empty(0))
        width, depth = (
            readout.shape[-1],
            len({name.split(".")[1] for name in self.weights if name.startswith("mixers.")}),
        )
        expected = self.run.model.hidden, self.run.mixer.depth(self.run.model.layers)
        if (width, depth) != expected:
            raise UserError(
                f"these weights have {depth} layers of width {width}, where the model of the run has "
                f"{expected[1]} of width {expected[0]}"
            )


def checkpoint_path(folder: Path, seed: int, rule: Rule) -> Path:
    """The file in a run's folder for the checkpoint of one member under one rule."""
    return folder / f"seed-{seed}-{rule}.safetensors"


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint to `path` atomically."""
    facts = Facts(checkpoint.run, checkpoint.seed, checkpoint.rule, checkpoint.step)
    write_tensors(path, checkpoint.weights, to_dict(facts))


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint. The file cannot run code.

    Raises `UserError` if `path` is no checkpoint, or if its contents have changed since it was written.
    """
    content = _read(path)
    header = _header(path, content)
    if "rule" not in header:
        raise UserError(f"{path} is no checkpoint of a finished run; choose a seed-*.safetensors of a run's folder")
    facts, checked = from_dict(Facts, header), CHECKSUM in _metadata(content)
    return Checkpoint(facts.run, facts.seed, facts.rule, facts.step, _tensors(path, content), checked)


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Writes one safetensors file, with `header` as JSON in its metadata, and a checksum of the whole file.

    The checksum is the SHA-256 of the file with 64 zeros in place of the checksum itself.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = _in_order(save(on_cpu, metadata={"fwplab": json.dumps(header), CHECKSUM: BLANK}))
    with replaced(path) as temporary:
        temporary.write_bytes(_with_checksum(content, hashlib.sha256(content).hexdigest()))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file that `write_tensors` wrote."""
    content = _read(path)
    return _tensors(path, content), _header(path, content)


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return load_tensors(content)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from error


def read_header(path: Path) -> dict[str, Any]:
    """The header of a file that `write_tensors` wrote, without its tensors."""
    return _header(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _header(path: Path, content: bytes) -> dict[str, Any]:
    """The header of a file with this content, after its checksum and the types of its facts are checked."""
    try:
        metadata = _metadata(content)
        if set(metadata) not in ({"fwplab"}, {"fwplab", CHECKSUM}):
            raise UserError(f"its metadata is {', '.join(map(shown, metadata))}")
        if CHECKSUM in metadata:
            blank = _with_checksum(content, BLANK)
            if hashlib.sha256(blank).hexdigest() != metadata[CHECKSUM]:
                raise UserError("its contents have changed since it was written")
        header: dict[str, Any] = json.loads(metadata["fwplab"])
        from_dict(Facts if "rule" in header else TrainingFacts, header)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, error) from error
    return header


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: eight bytes with the length of its JSON header come first."""
    end = 8 + int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8:end])["__metadata__"]
    return metadata


def _in_order(content: bytes) -> bytes:
    """The same safetensors file with sorted metadata, so that equal contents are equal bytes: the library writes the
    metadata in an order that changes from call to call."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[end:]


def _with_checksum(content: bytes, checksum: str) -> bytes:
    """The content of a file with another checksum. A quote inside of the header's JSON is escaped, so that the pattern
    is found nowhere else."""
    field = b'"%s":"%s"' % (CHECKSUM.encode(), checksum.encode())
    return re.sub(rb'"%s":"[^"]*"' % CHECKSUM.encode(), field, content, count=1)


def clone_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy that further training does not change."""
    return {name: torch.clone(tensor.detach()) for name, tensor in weights.items()}
