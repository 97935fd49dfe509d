"""Files of weights: whatever has changed in them is told in one line, and never loaded."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.training.test_trainer import small_run

from fwplab.cli import run as command
from fwplab.errors import UserError
from fwplab.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_header,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from fwplab.training.spec import to_dict
from fwplab.training.trainer import RESUME, Training, train

RUN = small_run(seeds=(0,))


def a_checkpoint(path: Path) -> None:
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    save_checkpoint(Checkpoint(RUN, 0, "paper", 12, weights), path)


def a_state(path: Path) -> None:
    training = Training(RUN, "cpu")
    training.step()
    training.check()
    training.save(path)


def without_checksum(path: Path) -> None:
    """Rewrites a file as former versions of fwplab wrote it."""
    tensors, _ = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata["sha256"]
    save_file(tensors, path, metadata=metadata)


def refused(read: Callable[[Path], object], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def resumed(path: Path) -> None:
    Training(RUN, "cpu").resume(path)


@pytest.mark.parametrize(("write", "every"), [(a_checkpoint, 1), (a_state, 7)])
def test_every_flipped_bit_is_told(write: Callable[[Path], None], every: int, tmp_path: Path) -> None:
    """Every byte of a checkpoint's header, every seventh of a training state's, and 200 bits of the weights."""
    path, draw = tmp_path / "file", random.Random(0)
    write(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for place in [*range(0, header, every), *(draw.randrange(header, len(content)) for _ in range(200))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        refused(read_tensors, path, flipped)
    path.write_bytes(content)
    read_tensors(path)


@pytest.mark.parametrize(("write", "every"), [(a_checkpoint, 1), (a_state, 7)])
def test_a_file_that_was_cut_is_told(write: Callable[[Path], None], every: int, tmp_path: Path) -> None:
    path, draw = tmp_path / "file", random.Random(0)
    write(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for end in [
        *range(0, header + 1, every),
        *(draw.randrange(header, len(content)) for _ in range(50)),
        len(content) - 1,
    ]:
        refused(read_header, path, content[:end])
    refused(read_header, path, content[:-1])
    refused(read_header, path, content + b"\0")


@pytest.mark.parametrize(("write", "read"), [(a_checkpoint, load_checkpoint), (a_state, resumed)])
def test_what_flips_in_a_file_without_a_checksum_is_no_traceback(
    write: Callable[[Path], None], read: Callable[[Path], object], tmp_path: Path
) -> None:
    path, draw = tmp_path / "file", random.Random(0)
    write(path)
    without_checksum(path)
    content = path.read_bytes()
    read(path)
    header, lines = 8 + int.from_bytes(content[:8], "little"), 0
    for place in draw.sample(range(header), 300):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            read(path)
        except UserError as error:
            lines += "\n" not in str(error)
    assert lines > 200


def test_a_checkpoint_of_a_former_version_is_read_and_called_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    a_checkpoint(path)
    new = load_checkpoint(path)
    assert new.checked
    without_checksum(path)
    old = load_checkpoint(path)
    assert not old.checked
    assert all(torch.equal(old.weights[name], tensor) for name, tensor in new.weights.items())
    for told in ("a file without a checksum", ""):
        assert command(["evaluate", str(path), "--lengths", "10", "--strings", "5"]) == 0
        title = capsys.readouterr().out
        assert ("without a checksum" in title) == bool(told)
        a_checkpoint(path)


def test_facts_that_cannot_be_are_refused(tmp_path: Path) -> None:
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    path = tmp_path / "file"
    for wrong in ({"seed": 5}, {"step": -1}, {"rule": "best"}, {"rule": []}):
        facts = {"seed": 0, "rule": "paper", "step": 1} | wrong
        write_tensors(path, weights, {"run": to_dict(RUN), **facts})
        with pytest.raises(UserError, match=r"no member of run|unknown rule"):
            load_checkpoint(path)


def test_weights_that_the_model_has_not_are_one_line() -> None:
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    lost = Checkpoint(RUN, 0, "paper", 1, {name: w for name, w in weights.items() if name != "readout.bias"})
    with pytest.raises(UserError, match=r"no readout\.bias, where the model has readout\.bias \(2,\)"):
        lost.model()
    cut = Checkpoint(RUN, 0, "paper", 1, weights | {"readout.bias": torch.zeros(1)})
    with pytest.raises(UserError, match=r"readout\.bias \(1,\), where"):
        cut.model()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_a_run_with_a_damaged_state_begins_anew_and_says_so_once(
    damage: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = train(RUN)
    a_state(tmp_path / RESUME)
    (tmp_path / RESUME).write_bytes(damage((tmp_path / RESUME).read_bytes()))
    assert train(RUN, folder=tmp_path).members == expected.members
    line = capsys.readouterr().err
    assert line.startswith(f"fwplab: run {RUN.key} begins anew: ")
    assert line.count("\n") == 1
    assert train(RUN, folder=tmp_path).members == expected.members
    assert capsys.readouterr().err == ""


def test_a_model_that_is_larger_than_its_weights_is_refused_before_it_is_built(tmp_path: Path) -> None:
    """A header may ask for any model. Nothing of that size is made."""
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    for change in ({"hidden": 4096}, {"layers": 2_000}):
        larger = replace(RUN, model=replace(RUN.model, **change))
        path = tmp_path / "larger.safetensors"
        save_checkpoint(Checkpoint(larger, 0, "paper", 12, weights), path)
        with pytest.raises(UserError, match=r"these weights have . layers of width 8, where the model of the run has"):
            load_checkpoint(path).model()


def test_weights_that_are_no_real_numbers_are_refused(tmp_path: Path) -> None:
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    path = tmp_path / "whole.safetensors"
    save_checkpoint(
        Checkpoint(RUN, 0, "paper", 12, weights | {"readout.bias": torch.zeros(2, dtype=torch.int64)}), path
    )
    with pytest.raises(UserError, match=r"readout\.bias of torch\.int64"):
        load_checkpoint(path).model()


@pytest.mark.parametrize("change", [{"hidden": 10**12}, {"layers": 10**12}, {"feed_forward_factor": 10**12}])
def test_no_spec_asks_for_more_numbers_than_memory_has(change: dict[str, int]) -> None:
    with pytest.raises(UserError, match="too large; choose a model of at most"):
        replace(RUN.model, **change)
