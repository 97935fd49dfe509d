"""The trainer: populations, early stopping, divergence, and bit-identical results after a kill."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from fwplab import ops
from fwplab.data.dataset import IGNORE, encode
from fwplab.data.splits import SplitSpec
from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.mixers import MIXERS
from fwplab.model.model import ModelSpec
from fwplab.model.population import Population
from fwplab.training.checkpoint import checkpoint_path, load_checkpoint, read_tensors, write_tensors
from fwplab.training.evaluate import chance, first_errors, score
from fwplab.training.record import Progress
from fwplab.training.run import PROTOCOLS, Run
from fwplab.training.run_splits import load_splits
from fwplab.training.spec import from_dict, to_dict
from fwplab.training.trainer import RESUME, Training, population_mode, train, with_dummy_string

SPLITS = SplitSpec(train_strings=300, validation_strings=60, test_strings=20, test_lengths=((2, 50), (51, 60)))


def small_run(mixer: str = "recurrent-delta", language_name: str = "parity", **changes: object) -> Run:
    """A run that trains for a second or two."""
    protocol = replace(PROTOCOLS["paper"], max_steps=12, check_every=4, batch_size=8, splits=SPLITS)
    run = Run(language_name, MIXERS.load(mixer)(), (0, 1, 2), (3e-3,), ModelSpec(hidden=8, heads=2), protocol)
    return replace(run, **changes)  # type: ignore[arg-type]


def run_with_average(average: float, max_steps: int) -> Run:
    """The small run with a moving average of the weights."""
    run = small_run()
    return replace(run, protocol=replace(run.protocol, average=average, max_steps=max_steps))


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The weights of all selected checkpoints in a run's folder."""
    return {
        f"{path.stem}/{name}": tensor
        for path in sorted(folder.glob("seed-*.safetensors"))
        for name, tensor in load_checkpoint(path).weights.items()
    }


@pytest.mark.parametrize("name", MIXERS.own_names())
def test_stacked_members_learn_as_single_members_do(name: str) -> None:
    together = train(small_run(name))
    for member in together.members:
        alone = train(small_run(name, seeds=(member.seed,))).members[0]
        for left, right in zip(member.checks, alone.checks, strict=True):
            assert left.train_loss == pytest.approx(right.train_loss, rel=2e-3)
    # PyTorch cannot vectorise its own recurrent layers over members. All other layers are stacked.
    looped = any(isinstance(part, nn.RNNBase) for part in small_run(name).build(0).modules())
    assert together.environment["population"].startswith("loop" if looped else "stack")


def test_loop_and_stack_agree_up_to_rounding() -> None:
    stacked, looped = (train(small_run(population=mode)) for mode in ("stack", "loop"))
    for left, right in zip(stacked.members, looped.members, strict=True):
        assert left.checks[-1].bin0_loss == pytest.approx(right.checks[-1].bin0_loss, rel=1e-3)


def test_members_have_their_own_learning_rates() -> None:
    rates = (1e-3, 3e-3, 1e-2)
    together = train(small_run(learning_rates=rates))
    for member, rate in zip(together.members, rates, strict=True):
        alone = train(small_run(seeds=(member.seed,), learning_rates=(rate,)))
        assert member.learning_rate == rate
        assert member.checks[-1].train_loss == pytest.approx(alone.members[0].checks[-1].train_loss, rel=2e-3)


def test_the_same_run_gives_the_same_bits(tmp_path: Path) -> None:
    first, second = (train(small_run(), folder=tmp_path / name) for name in ("first", "second"))
    assert first.members == second.members
    left, right = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_solved_member_is_dropped_and_the_others_continue() -> None:
    protocol = replace(small_run().protocol, max_steps=40, stop="in_distribution", patience=1, check_every=2)
    training = Training(small_run(protocol=protocol), "cpu")
    training.step()
    training.members[1].status = "solved"
    training._drop_ended(training.members)
    assert len(training.population) == 2
    training.step()
    assert [member.steps for member in training.members] == [2, 1, 2]


def test_a_diverged_member_is_recorded_and_dropped() -> None:
    record = train(small_run(learning_rates=(3e-3, 1e30, 3e-3)))
    assert [member.status for member in record.members] == ["budget", "diverged", "budget"]
    assert record.members[1].steps < 12
    expected = train(small_run(seeds=(0, 2))).members
    for member, alone in zip((record.members[0], record.members[2]), expected, strict=True):
        assert member.checks[-1].train_loss == pytest.approx(alone.checks[-1].train_loss, rel=2e-3)


def test_the_strict_protocol_does_not_depend_on_longer_strings() -> None:
    run = small_run(protocol=replace(small_run().protocol, selection="strict", stop="in_distribution", patience=2))
    training = Training(run, "cpu")
    longer = training.splits.bin1
    shuffled = replace(longer, labels=(1 - longer.labels).clip(0, 1))
    training.splits = replace(training.splits, bin1=shuffled)
    plain = Training(run, "cpu")
    for each in (training, plain):
        while each.learning:
            each.step()
            if each.check_is_due():
                each.check()
    for left, right in zip(training.members, plain.members, strict=True):
        assert left.chosen["strict"][0] == right.chosen["strict"][0]
        assert (left.status, left.steps) == (right.status, right.steps)


KILLED_SCRIPT = """
import sys
from pathlib import Path
import torch
import fwplab.training.trainer as trainer
from tests.training.test_trainer import small_run
torch.set_num_threads(1)
trainer.SAVE_EVERY_SECONDS = 0.0
trainer.train(small_run(), folder=Path(sys.argv[1]), observe=lambda p: print(p.step, flush=True))
"""


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = train(small_run(), folder=whole)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    kills = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_SCRIPT, str(killed)], env=environment, stdout=subprocess.PIPE
        )
        deadline, before = time.monotonic() + 120, _modified_at(killed / RESUME)
        while process.poll() is None and _modified_at(killed / RESUME) == before and time.monotonic() < deadline:
            time.sleep(0.001)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills > 0
    resumed = train(small_run(), folder=killed)
    assert resumed.members == expected.members
    left, right = weights_of(killed), weights_of(whole)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def _modified_at(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resuming_after_every_evaluation_gives_the_same_bits(tmp_path: Path, average: float) -> None:
    run, path = run_with_average(average, max_steps=12), tmp_path / RESUME
    whole = train(run)
    training = Training(run, "cpu")
    while training.learning:
        training.step()
        if training.check_is_due():
            training.check()
            training.save(path)
            training = Training(run, "cpu")
            training.resume(path)
    assert training.record().members == whole.members


@pytest.mark.parametrize("population", ["stack", "loop"])
def test_evaluations_use_the_averaged_weights_and_training_the_others(population: str) -> None:
    """The expected average is computed here from a training without one, which has the same weights at every step."""
    training, plain = (
        Training(replace(run_with_average(decay, max_steps=24), population=population), "cpu")  # type: ignore[arg-type]
        for decay in (0.8, 0.0)
    )
    average = torch.zeros_like(plain.population.vectors, dtype=torch.float64)
    for step in range(1, 13):
        training.step()
        plain.step()
        assert torch.equal(training.population.vectors, plain.population.vectors)
        weight = max(0.2, 1 / step)
        average = (1 - weight) * average + weight * plain.population.vectors.detach().double()
    names = training.population.by_name(average[0])
    training.check()
    chosen = training.members[0].chosen["paper"][1]
    for name, tensor in chosen.items():  # 12 interpolations round, each relative to the largest number
        bound = 12 * 4 * torch.finfo(torch.float32).eps * names[name].abs().max()
        assert (tensor.double() - names[name]).abs().max() <= bound
    assert not torch.equal(chosen["readout.weight"], plain.population.weights[0]["readout.weight"])
    assert torch.equal(training.population.vectors, plain.population.vectors)
    with pytest.raises(UserError, match="decay below 1"):
        run_with_average(1.0, max_steps=12)


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    Training(small_run(), "cpu").save(tmp_path / RESUME)
    with pytest.raises(UserError, match="belongs to another run"):
        Training(small_run(learning_rates=(1.0,)), "cpu").resume(tmp_path / RESUME)


def test_a_state_of_a_version_without_a_field_can_be_resumed(tmp_path: Path) -> None:
    run, path = small_run(), tmp_path / RESUME
    training = Training(run, "cpu")
    training.step()
    training.save(path)
    tensors, header = read_tensors(path)
    assert header["run"]["model"].pop("initialisation") == "own"
    write_tensors(path, tensors, header)
    later = Training(run, "cpu")
    later.resume(path)
    assert later.step_number == 1


def test_checkpoints_contain_the_evaluated_models(tmp_path: Path) -> None:
    run = small_run()
    record = train(run, folder=tmp_path)
    splits = load_splits(run)
    for member in record.members:
        model = load_checkpoint(checkpoint_path(tmp_path, member.seed, "paper")).model()
        right, _ = score(model, splits.bin0)
        found = member.score("paper", "bin0")
        assert found is not None
        assert found.correct == int(right)
        errors = first_errors(model, splits.bin0, chunk=7)
        assert sum(error is None for error in errors) == int(right)


def test_progress_is_reported() -> None:
    updates: list[Progress] = []
    train(small_run(), observe=updates.append)
    assert updates[-1].step == 12
    assert all(member.status == "budget" for member in updates[-1].members)


def test_a_module_that_cannot_be_vectorised_is_looped_with_the_reason_recorded() -> None:
    class NotVectorisable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, tokens: Tensor) -> Tensor:
            return self.weight * tokens.float().unsqueeze(-1) * float(self.weight.sum().item())

    population = Population([NotVectorisable(), NotVectorisable()])  # type: ignore[list-item]
    assert population.mode == "loop"
    assert "cannot be vectorised" in population.why
    assert population(torch.ones(2, 1, 4, dtype=torch.long)).shape == (2, 1, 4, 3)


def test_batches_padded_to_one_shape_train_the_same() -> None:
    """On the device "cpu:0", batches are padded to one shape, as on a GPU, where a CUDA graph needs it."""
    packed, padded = (train(small_run(), device=device) for device in ("cpu", "cpu:0"))
    training = Training(small_run(), "cpu:0")
    shapes = set()
    for _ in range(training.steps_an_epoch):
        tokens, labels = training._batch(training.learning)
        shapes.add((tokens.shape, labels.shape))
        training.step_number += 1
    assert len(shapes) == 1
    for left, right in zip(packed.members, padded.members, strict=True):
        assert left.checks[-1].train_loss == pytest.approx(right.checks[-1].train_loss, rel=2e-3)


def test_parameters_of_two_dtypes_are_refused() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3).double())

    with pytest.raises(UserError, match=r"of one type, these are of torch\.float32, torch\.float64"):
        Population([Mixed()])  # type: ignore[list-item]


@pytest.mark.parametrize("mode", ["stack", "loop"])
def test_each_member_has_one_vector_with_the_gradients_of_its_own_loss(mode: Literal["stack", "loop"]) -> None:
    run = small_run()
    population = Population([run.build(seed) for seed in run.seeds], mode)
    tokens, labels = torch.randint(0, 2, (2, 3, 4, 9), generator=torch.Generator().manual_seed(0)).unbind()
    lengths = torch.tensor([[9, 2, 5, 1]] * 3)
    labels = torch.where(torch.arange(9) < lengths.unsqueeze(-1), labels, IGNORE)
    for _ in range(2):  # the second call must replace the gradients of the first
        population.backward(population.losses(tokens, labels, lengths))
    for member, seed in enumerate(run.seeds):
        alone = run.build(seed)
        logits = alone(tokens[member])
        nn.functional.cross_entropy(logits.flatten(0, 1), labels[member].flatten()).backward()
        found = population.by_name(population.gradients[member])
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad)


def test_chance_is_the_accuracy_of_a_constant_guess() -> None:
    parity = load_language("parity")
    train_set = encode(parity, ["0", "00", "000", "11"])
    assert chance(train_set, encode(parity, ["00", "11", "0"])) == (2 / 3, 2 / 3)
    reset = load_language("reset_dyck_1")
    assert chance(encode(reset, ["(1", "((1", "(("]), encode(reset, ["(1", "1()"])) == (0, 0.5)


def test_a_spec_and_its_key_are_unchanged_by_json() -> None:
    run = small_run()
    assert from_dict(Run, to_dict(run)) == run
    assert from_dict(Run, to_dict(run)).key == run.key
    assert small_run(learning_rates=(1e-4,)).key != run.key
    assert len({small_run(name).key for name in MIXERS.own_names()}) == len(MIXERS.own_names())
    with pytest.raises(UserError, match="no field 'sedes'; choose from: language"):
        from_dict(Run, {"sedes": 3})


def test_large_batches_on_a_cpu_are_packed_not_stacked() -> None:
    run = replace(small_run(), protocol=replace(small_run().protocol, batch_size=16))
    assert population_mode(run, "cpu")[0] == "loop"
    assert population_mode(run, "cuda")[0] == "stack"
    assert population_mode(small_run(), "cpu")[0] == "stack"
    with ops.prefer("loop"):  # packing needs the compiled kernels
        assert population_mode(run, "cpu")[0] == "stack"
    assert population_mode(replace(run, mixer=MIXERS.load("lstm")()), "cpu")[0] == "stack"
    assert "packed" in train(run).environment["population"]


def test_the_oracle_uses_the_reported_strings_and_the_schedule_sets_the_rate() -> None:
    protocol = replace(small_run().protocol, stop="every_rule", oracle=True, schedule="cosine")
    training = Training(small_run(protocol=protocol), "cpu")
    rates = []
    while training.learning:
        training.step()
        rates.append(training.optimiser.param_groups[0]["lr"] if training.learning else None)
        if training.check_is_due():
            training.check()
    assert rates == [pytest.approx(3e-3 * protocol.rate_factor(step)) for step in range(12)]
    record = training.record()
    for member in record.members:
        best = max(check.oracle_accuracy or 0.0 for check in member.checks)
        score_of = member.score("oracle", "test", 2)
        assert score_of is not None
        assert score_of.accuracy == best
        assert set(member.selected) == {"paper", "strict", "last", "oracle"}


def test_batches_on_a_gpu_are_those_on_a_cpu_padded_to_one_shape() -> None:
    training = Training(small_run(protocol=replace(small_run().protocol, batch_size=32)), "cpu")
    for step in (
        0,
        training.steps_an_epoch - 1,
        training.steps_an_epoch,
    ):  # the first batch, the smaller last batch of an epoch, and the first of the next epoch
        training.step_number = step
        training._data = None
        tokens, labels, _ = training._batch(training.members)
        training._data = with_dummy_string(training.splits.train, "cpu")
        all_tokens, all_labels = training._batch(training.members)
        assert all_tokens.shape == all_labels.shape == (3, 32, training.splits.train.tokens.shape[1])
        strings, longest = tokens.shape[1:]
        assert torch.equal(all_tokens[:, :strings, :longest], tokens)
        assert torch.equal(all_labels[:, :strings, :longest], labels)
        assert bool((all_labels[:, strings:] == IGNORE).all())
        assert bool((all_labels[:, :, longest:] == IGNORE).all())
