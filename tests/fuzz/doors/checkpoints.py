"""Checkpoints of fwplab, which are safetensors files with a JSON header."""

import hashlib
import json
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tests.fuzz.command import command
from tests.fuzz.door import Door
from tests.fuzz.values import changed, damaged, words

from fwplab.mixers import MIXERS
from fwplab.model.spec import ModelSpec
from fwplab.training.checkpoint import BLANK, CHECKSUM, Checkpoint, load_checkpoint, read_header, save_checkpoint
from fwplab.training.run import Run

DTYPES = ("F32", "F64", "F16", "BF16", "I64", "BOOL", "U8", "F8_E4M3", "I8", "X9", "", "f32", "C64")
SIZES = (0, 1, 2, 3, 8, -1, 2**31, 2**53, 2**63, 2**64, 10**30)
SOME = ("lstm", "srwm", "delta-product", "recurrent-delta", "fast-weight-program")
Header = dict[str, Any]


@cache
def base(mixer: str) -> bytes:
    """A small checkpoint."""
    run = Run("parity", MIXERS.load(mixer)(), model=ModelSpec(hidden=4, layers=1, heads=2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base.safetensors"
        save_checkpoint(Checkpoint(run, 0, "paper", 10, dict(run.build(0).named_parameters())), path)
        return path.read_bytes()


def parts(content: bytes) -> tuple[Header, bytes]:
    """The header of a safetensors file, and its numbers."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def packed(header: Any, numbers: bytes, *, signed: bool) -> bytes:
    """A safetensors file. signed: with the right checksum, as a program that means harm would write it."""
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    signed = signed and isinstance(metadata, dict) and isinstance(metadata.get(CHECKSUM), str)
    if signed:
        metadata[CHECKSUM] = BLANK
    text = json.dumps(header, separators=(",", ":")).encode("utf-8", "surrogatepass")
    content = struct.pack("<Q", len(text)) + text + numbers
    if signed:
        content = content.replace(BLANK.encode(), hashlib.sha256(content).hexdigest().encode(), 1)
    return content


@st.composite
def checkpoints(draw: st.DrawFn) -> bytes:
    """A checkpoint with a change in its facts, its tensors' headers or its bytes."""
    content = base(draw(st.sampled_from(SOME)))
    kind = draw(st.sampled_from(("bytes", "facts", "facts", "tensors", "header", "length", "nothing")))
    if kind == "bytes":
        return draw(damaged(content) | st.binary(max_size=40))
    if kind == "length":
        size = draw(st.sampled_from((0, 1, 7, 2**31, 2**40, 2**63, 2**64 - 1)))
        return struct.pack("<Q", size) + content[8 : draw(st.integers(8, len(content)))]
    header, numbers = parts(content)
    signed = draw(st.booleans()) or kind == "facts"
    if kind == "facts":
        header["__metadata__"]["fwplab"] = json.dumps(draw(changed(json.loads(header["__metadata__"]["fwplab"]))))
    elif kind == "tensors":
        for _ in range(draw(st.integers(1, 3))):
            tensor = header[draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))]
            field = draw(st.sampled_from(("dtype", "shape", "data_offsets", "name", "twice")))
            if field == "dtype":
                tensor["dtype"] = draw(st.sampled_from(DTYPES))
            elif field == "shape":
                tensor["shape"] = draw(st.lists(st.sampled_from(SIZES), max_size=4) | st.just([*tensor["shape"], 1]))
            elif field == "data_offsets":
                tensor["data_offsets"] = draw(st.lists(st.sampled_from((*SIZES, len(numbers))), max_size=3))
            else:
                header[draw(words)] = dict(tensor)
    elif kind == "header":
        header = draw(changed(header))
    return packed(header, numbers, signed=signed)


def load(content: bytes, folder: Path) -> None:
    """The header, the weights and the model of a checkpoint."""
    path = folder / "checkpoint.safetensors"
    path.write_bytes(content)
    read_header(path)
    load_checkpoint(path).model()


def evaluate(content: bytes, folder: Path) -> None:
    """`fwplab evaluate` of a checkpoint."""
    path = folder / "checkpoint.safetensors"
    path.write_bytes(content)
    command(["evaluate", str(path), "--lengths", "3", "--strings", "2"])


DOORS = (
    Door("checkpoints", checkpoints(), load, 10_000, 40),
    Door("evaluate", checkpoints(), evaluate, 400, 4),
)
