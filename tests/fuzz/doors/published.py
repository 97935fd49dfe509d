"""Checkpoints of the published code: pickles, which might hold anything."""

import io
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from tests.fuzz.door import Door
from tests.fuzz.values import damaged, words
from torch import Tensor

from fwplab.compat.irie2023 import MODELS, load_checkpoint, published_state
from fwplab.model.model import ModelSpec, build

TRAP = "code-was-run"
"""The folder that the code in a pickle would make."""


class Code:
    """Pickles to a call of `os.mkdir`."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (TRAP,)


class File(NamedTuple):
    """A file's bytes, the model type that is asked for, and the number of heads."""

    content: bytes
    model_type: int
    num_heads: int | None


TENSORS = {
    "sparse": lambda like: like.to_sparse(),
    "compressed": lambda like: like.reshape(-1, 1).to_sparse_csr(),
    "meta": lambda like: torch.empty(like.shape, device="meta"),
    "huge meta": lambda like: torch.empty(2**40, device="meta"),
    "nested": lambda like: torch.nested.nested_tensor([like.flatten(), like.flatten()[:1]]),
    "quantised": lambda like: torch.quantize_per_tensor(like, 0.1, 0, torch.qint8),
    "expanded": lambda like: torch.ones(1).expand(10**6, 10**6),
    "of its shape, expanded": lambda like: torch.ones(1).expand(like.shape),
    "strided": lambda like: torch.as_strided(torch.ones(4), (10**9,), (0,)),
    "transposed": lambda like: like.T if like.ndim == 2 else like,
    "complex": lambda like: like.to(torch.complex64),
    "whole": lambda like: like.long(),
    "boolean": lambda like: like > 0,
    "double": lambda like: like.double(),
    "half": lambda like: like.half(),
    "eight bits": lambda like: like.to(torch.float8_e4m3fn),
    "empty": lambda like: torch.empty(0),
    "without axes": lambda like: torch.tensor(1.0),
    "parameter": torch.nn.Parameter,
    "NaN": lambda like: like * float("nan"),
    "wider": lambda like: torch.zeros(*like.shape[:-1], 3 * like.shape[-1]) if like.ndim else like,
    "a long row": lambda like: torch.zeros(2, 40_000),
    "a long column": lambda like: torch.zeros(40_000, 2),
    "flat": lambda like: like.flatten(),
    "code": lambda like: Code(),
    "a number": lambda like: 3,
    "a list": lambda like: like.tolist(),
    "nothing": lambda like: None,
}  # fmt: skip


@cache
def base(model_type: int) -> dict[str, Tensor]:
    """The published state of a small model."""
    published = MODELS[model_type]
    return published_state(build(published.mixer, ModelSpec(4, 1, 2), 3, 2, seed=0))


@st.composite
def files(draw: st.DrawFn) -> File:
    """A published checkpoint with changes."""
    model_type = draw(st.sampled_from(sorted(MODELS)))
    state: dict[Any, Any] = {name: tensor.clone() for name, tensor in base(model_type).items()}
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2, 3)))):
        name = draw(st.sampled_from(sorted(state, key=str) or ["x"]))
        change = draw(st.sampled_from(("tensor", "tensor", "tensor", "remove", "rename", "alias", "add")))
        if change == "tensor" and isinstance(state.get(name), Tensor) and state[name].layout == torch.strided:
            state[name] = _made(draw(st.sampled_from(sorted(TENSORS))), state[name])
        elif change == "alias":
            state[name] = state[draw(st.sampled_from(sorted(state, key=str)))]
        elif change == "add":
            state[draw(words | st.sampled_from((3, ("a",), None, "layers.0.pe", "pos_enc.pe", "embedding.weight")))] = (
                torch.ones(4)
            )
        else:
            value = state.pop(name, None)
            if change == "rename":
                state[draw(words)] = value
    content = _saved(draw(st.sampled_from((_plain, _plain, *_wrappings)))(state), old=draw(st.booleans()))
    if draw(st.integers(0, 4)) == 0:
        content = draw(damaged(content) | st.binary(max_size=30))
    asked = model_type if draw(st.integers(0, 5)) else draw(st.sampled_from((*MODELS, 3, -1, 2**70)))
    heads = 2 if draw(st.integers(0, 3)) else draw(st.sampled_from((None, 1, 3, 0, -1, 2**40, 2**70)))
    return File(content, asked, heads)


def _plain(state: dict[Any, Any]) -> Any:
    return state


_wrappings = (
    lambda state: {"model_state_dict": state, "epoch": 3},
    lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    lambda state: {"model_state_dict": state, "trap": Code()},
    lambda state: list(state.values()),
    lambda state: {"model_state_dict": 3},
    lambda state: {},
)


def _made(kind: str, like: Tensor) -> Any:
    try:
        return TENSORS[kind](like.detach())
    except RuntimeError:  # some kinds exist only for some types of numbers
        return like


def _saved(value: Any, *, old: bool) -> bytes:
    out = io.BytesIO()
    try:
        torch.save(value, out, _use_new_zipfile_serialization=not old)
    except (RuntimeError, AttributeError, NotImplementedError, TypeError):  # not every tensor can be saved in both ways
        out = io.BytesIO()
        torch.save({"a": 1}, out)
    return out.getvalue()


def load(case: File, folder: Path) -> None:
    """A published checkpoint becomes a model, and no code from its file has run."""
    path = folder / "published.pt"
    path.write_bytes(case.content)
    try:
        load_checkpoint(path, case.model_type, case.num_heads)
    finally:
        assert not Path(TRAP).exists(), "code from the file has been run"


DOORS = (Door("published pickles", files(), load, 8_000, 40),)
