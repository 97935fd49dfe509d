"""Files of weights: a file that has changed is refused with one line, and its content is never used."""

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


def write_checkpoint(path: Path) -> None:
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    save_checkpoint(Checkpoint(RUN, 0, "paper", 12, weights), path)


def write_training_state(path: Path) -> None:
    training = Training(RUN, "cpu")
    training.step()
    training.check()
    training.save(path)


def remove_checksum(path: Path) -> None:
    """Rewrites a file without its checksum, as former versions of fwplab wrote it."""
    tensors, _ = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata["sha256"]
    save_file(tensors, path, metadata=metadata)


def assert_refused(read: Callable[[Path], object], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def resume(path: Path) -> None:
    Training(RUN, "cpu").resume(path)


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    """safetensors writes its metadata in an order that changes from call to call."""
    for index in range(20):
        write_checkpoint(tmp_path / str(index))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(("write", "every"), [(write_checkpoint, 1), (write_training_state, 7)])
def test_every_flipped_bit_is_an_error(write: Callable[[Path], None], every: int, tmp_path: Path) -> None:
    """One bit in each byte of a checkpoint's header (every 7th of a training state's), and 200 bits of the weights."""
    path, draw = tmp_path / "file", random.Random(0)
    write(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for place in [*range(0, header, every), *(draw.randrange(header, len(content)) for _ in range(200))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        assert_refused(read_tensors, path, flipped)
    path.write_bytes(content)
    read_tensors(path)


@pytest.mark.parametrize(("write", "every"), [(write_checkpoint, 1), (write_training_state, 7)])
def test_a_truncated_file_is_an_error(write: Callable[[Path], None], every: int, tmp_path: Path) -> None:
    path, draw = tmp_path / "file", random.Random(0)
    write(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for end in [
        *range(0, header + 1, every),
        *(draw.randrange(header, len(content)) for _ in range(50)),
        len(content) - 1,
    ]:
        assert_refused(read_header, path, content[:end])
    assert_refused(read_header, path, content[:-1])
    assert_refused(read_header, path, content + b"\0")


@pytest.mark.parametrize(("write", "read"), [(write_checkpoint, load_checkpoint), (write_training_state, resume)])
def test_a_flipped_bit_in_a_file_without_a_checksum_is_one_line_or_harmless(
    write: Callable[[Path], None], read: Callable[[Path], object], tmp_path: Path
) -> None:
    path, draw = tmp_path / "file", random.Random(0)
    write(path)
    remove_checksum(path)
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


def test_a_checkpoint_without_a_checksum_is_read_and_marked_as_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    write_checkpoint(path)
    new = load_checkpoint(path)
    assert new.checked
    remove_checksum(path)
    old = load_checkpoint(path)
    assert not old.checked
    assert all(torch.equal(old.weights[name], tensor) for name, tensor in new.weights.items())
    for marked in (True, False):
        assert command(["evaluate", str(path), "--lengths", "10", "--strings", "5"]) == 0
        title = capsys.readouterr().out
        assert ("without a checksum" in title) == marked
        write_checkpoint(path)


def test_a_header_that_contradicts_the_run_is_refused(tmp_path: Path) -> None:
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    path = tmp_path / "file"
    for wrong in ({"seed": 5}, {"step": -1}, {"rule": "best"}, {"rule": []}):
        facts = {"seed": 0, "rule": "paper", "step": 1} | wrong
        write_tensors(path, weights, {"run": to_dict(RUN), **facts})
        with pytest.raises(UserError, match=r"no member of run|unknown rule"):
            load_checkpoint(path)


def test_missing_or_misshapen_weights_are_one_line() -> None:
    weights = {name: parameter.detach() for name, parameter in RUN.build(0).named_parameters()}
    missing = Checkpoint(RUN, 0, "paper", 1, {name: w for name, w in weights.items() if name != "readout.bias"})
    with pytest.raises(UserError, match=r"no readout\.bias, where the model has readout\.bias \(2,\)"):
        missing.model()
    short = Checkpoint(RUN, 0, "paper", 1, weights | {"readout.bias": torch.zeros(1)})
    with pytest.raises(UserError, match=r"readout\.bias \(1,\), where"):
        short.model()


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""],
    ids=["half the file", "one bit flipped", "empty"],
)
def test_a_run_with_a_damaged_state_starts_again_and_prints_one_line(
    damage: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = train(RUN)
    write_training_state(tmp_path / RESUME)
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
