"""Runs that train another mixer and fold it into the run's own mixer at each evaluation."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.test_trainer import small_run, weights_of

from fwplab.errors import UserError
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.lstm import LSTM
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.mixers.split_delta_net import SplitDeltaNet
from fwplab.model.folding import LEAST_ERASE, fold_split_delta_net
from fwplab.model.model import ModelSpec
from fwplab.training.checkpoint import checkpoint_path, load_checkpoint
from fwplab.training.run import Run, from_dict, to_dict
from fwplab.training.trainer import RESUME, Training, train

SHAPE = ModelSpec(hidden=12, layers=1, heads=3)


def folded_run(mixer: DeltaNet | RecurrentDelta | None = None, **changes: object) -> Run:
    run = replace(small_run("delta-net", "reset_dyck_1"), mixer=mixer or DeltaNet(), model=SHAPE)
    return replace(run, trained_as=SplitDeltaNet(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("mixer", [DeltaNet(), RecurrentDelta()])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_checkpoints_and_records_are_those_of_the_folded_mixer(
    mixer: DeltaNet | RecurrentDelta, seeds: tuple[int, ...], tmp_path: Path
) -> None:
    run = folded_run(mixer, seeds=seeds)
    record = train(run, folder=tmp_path)
    assert (record.run, record.parameters) == (run, run.build(0).parameter_count())
    split = train(run.learner, folder=tmp_path / "split")
    for seed, folded, plain in zip(seeds, record.members, split.members, strict=True):
        assert [check.train_loss for check in folded.checks] == [check.train_loss for check in plain.checks]
        found = load_checkpoint(checkpoint_path(tmp_path, seed, "last"))
        assert found.run.mixer == mixer
        learned = load_checkpoint(checkpoint_path(tmp_path / "split", seed, "last")).model()
        expected = dict(fold_split_delta_net(learned, SHAPE, mixer, least_erase=LEAST_ERASE).named_parameters())
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.weights.items())


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    run = folded_run()
    train(run, folder=tmp_path / "whole")
    interrupted = Training(run, "cpu")
    for _ in range(6):
        interrupted.step()
        if interrupted.check_is_due():
            interrupted.check()
    (tmp_path / "resumed").mkdir()
    interrupted.save(tmp_path / "resumed" / RESUME)
    train(run, folder=tmp_path / "resumed")
    whole, resumed = (weights_of(tmp_path / name) for name in ("whole", "resumed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_key_contains_the_trained_mixer_only_if_there_is_one() -> None:
    run = folded_run()
    plain = replace(run, trained_as=None)
    assert "trained_as" not in to_dict(plain, defaults=False)
    assert run.key != plain.key
    assert from_dict(Run, to_dict(run)) == run
    assert run.learner == replace(plain, mixer=SplitDeltaNet())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixer": LSTM()}, "split-delta-net folds into delta-net, recurrent-delta, not into lstm"),
        ({"trained_as": LSTM()}, "lstm folds into no other mixer, not into delta-net"),
        ({"model": ModelSpec(hidden=12, layers=2, heads=3)}, "choose layers=1 and no switches"),
        ({"mixer": DeltaNet(rate_bias=-2.0)}, "choose layers=1 and no switches"),
    ],
)
def test_runs_that_cannot_be_folded_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(folded_run(), **changes)  # type: ignore[arg-type]
