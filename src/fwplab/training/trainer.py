"""Training of all members of a run; a training that was interrupted continues to bitwise equal results."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fwplab import ops
from fwplab.data.dataset import IGNORE, Dataset
from fwplab.errors import UserError
from fwplab.model.folding import fold
from fwplab.model.population import Population, Weights, load
from fwplab.plugins import check_mixer as contract
from fwplab.plugins.fingerprint import fingerprint
from fwplab.training.averaging import Average
from fwplab.training.checkpoint import (
    Checkpoint,
    DamagedError,
    checkpoint_path,
    damaged,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from fwplab.training.cuda_graph import GraphedStep, Work
from fwplab.training.environment import environment
from fwplab.training.evaluate import chance, score
from fwplab.training.record import Chance, Check, Member, Progress, Record, Score
from fwplab.training.run import Run
from fwplab.training.run_splits import SplitKey, load_splits, named_splits, oracle_splits, summaries
from fwplab.training.selection import LearningMember
from fwplab.training.spec import from_dict, to_dict

RESUME = "resume.safetensors"
"""The file in a run's folder that holds its training state."""
SAVE_EVERY_SECONDS = 10.0
REPORT_EVERY_SECONDS = 0.5
PACKED_FROM = 16
"""The batch size from which packing the strings of a batch is faster on a CPU than stacking the members."""

Observer = Callable[[Progress], None]
Moments = dict[str, Tensor]
Order = np.ndarray[Any, np.dtype[np.int64]]
AVERAGE = "average"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's running means of the gradients and of their squares, by PyTorch's names."""


def train(run: Run, *, folder: Path | None = None, device: str = "cpu", observe: Observer | None = None) -> Record:
    """Trains every member of `run` and returns its record.

    A member whose gradient is not finite is recorded as diverged and trained no further.

    folder: where the training state is saved every few seconds, and the selected checkpoints at the end. A training
        that finds its state there continues from it. A run that was killed at any time and started again ends with
        the same bits as one that was not. It begins anew, and says so, if the state is damaged.
    device: a PyTorch device, such as "cpu" or "cuda".
    observe: called with the progress, about twice a second.
    """
    training = _advanced(run, run.protocol.max_steps, folder, device, observe)
    if folder is not None:
        training.save_checkpoints(folder)
    return training.record()


def train_until(step: int, run: Run, *, folder: Path, observe: Observer | None = None) -> Progress:
    """Trains `run` to this step at most, saves its state and returns its progress. `train` then continues from there.

    folder, observe: as of `train`.
    """
    return _advanced(run, step, folder, "cpu", observe).progress()


def _advanced(run: Run, until: int, folder: Path | None, device: str, observe: Observer | None) -> "Training":
    """The training of a run, continued to this step or to its end, and saved."""
    training = Training(run, device)
    if folder is not None and (folder / RESUME).exists():
        try:
            training.resume(folder / RESUME)
        except DamagedError as error:
            print(f"fwplab: run {run.key} begins anew: {error}", file=sys.stderr)
            (folder / RESUME).unlink()
            training = Training(run, device)
    saved = reported = time.monotonic()
    while training.learning and training.step_number < until:
        training.step()
        now = time.monotonic()
        if training.check_is_due():
            training.check()
            if folder is not None and now - saved > SAVE_EVERY_SECONDS:
                training.save(folder / RESUME)
                saved = now
        if observe and (now - reported > REPORT_EVERY_SECONDS or not training.learning):
            observe(training.progress())
            reported = now
    if folder is not None:
        training.save(folder / RESUME)
    return training


class Training:
    """A run in training: its population, its optimiser, its members' checks, and the steps that change them."""

    def __init__(self, run: Run, device: str) -> None:
        if run.code != run.code_here:
            which = f"mixer {run.mixer_name!r} or language {run.language!r}"
            raise UserError(f"{which} has other code here than where run {run.key} was requested")
        self.run, self.device = run, device
        self.splits = load_splits(run)
        self.members = [LearningMember(seed, run.rate_of(seed)) for seed in run.seeds]
        self.step_number = 0
        self.seconds_before, self.started = 0.0, time.monotonic()
        reported, models = run.build(run.seeds[0]), [run.learner.build(seed).to(device) for seed in run.seeds]
        if fingerprint(type(run.mixer)):  # a mixer of another package; fwplab's own are tested by its test suite
            contract.check(run.mixer_name, models[0])
        self.parameters, self.state_size = reported.parameter_count(), reported.state_size()
        self.population = Population(models, *population_mode(run.learner, device))
        self.average = Average(self.population, run.protocol.average) if run.protocol.average else None
        self.population_mode = f"{self.population.mode} ({self.population.why})"
        self.on_gpu = torch.device(device).type == "cuda"
        if self.on_gpu:
            torch.backends.cudnn.allow_tf32 = False  # TF32 keeps 10 of float32's 23 bits in an LSTM's products
        self._orders: tuple[int, dict[int, Order]] = -1, {}
        self._data = None if device == "cpu" else with_dummy_string(self.splits.train, device)
        self._run_update: Work
        self.optimiser = self._adam([{} for _ in run.seeds])

    @property
    def learning(self) -> list[LearningMember]:
        """The members that are still trained, in the population's order."""
        return [member for member in self.members if member.status is None]

    @property
    def steps_an_epoch(self) -> int:
        """The number of batches in one pass over the training strings; the last may be smaller."""
        return math.ceil(len(self.splits.train.lengths) / self.run.protocol.batch_size)

    def step(self) -> None:
        """Takes one step of Adam for every learning member, each on its own batch."""
        members = self.learning
        factor = self.run.protocol.rate_factor(self.step_number)
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):  # a CUDA graph reads the rate from this tensor
                group["lr"].fill_(group["initial_lr"] * factor)
            else:
                group["lr"] = group["initial_lr"] * factor
        losses, norms = self._run_update(*self._batch(members))
        self.step_number += 1
        if self.average:
            self.average.update(self.population, self.step_number)
        for member, value, finite in zip(members, losses.tolist(), norms.isfinite().tolist(), strict=True):
            member.steps, member.train_loss = self.step_number, value
            member.status = None if finite else "diverged"
        self._drop_ended(members)

    def check_is_due(self) -> bool:
        """Whether there is a check after this step: every `check_every` steps, at an epoch's end, at the last step."""
        protocol, n = self.run.protocol, self.step_number
        return n % protocol.check_every == 0 or n % self.steps_an_epoch == 0 or n == protocol.max_steps

    def check(self) -> None:
        """Evaluates the learning members on both bins, updates the selected weights, and drops members that end."""
        members = self.learning
        if not members:
            return
        evaluated = [self.splits.bin0, self.splits.bin1, *oracle_splits(self.run.protocol, self.splits)]
        sizes = [len(data.lengths) for data in evaluated]
        with self.average.in_place(self.population) if self.average else nullcontext():
            population = self._folded() if self.run.trained_as else self.population
            results = [score(population, data, self.device) for data in evaluated]
            for index, member in enumerate(members):
                accuracies = [correct[index].item() / size for (correct, _), size in zip(results, sizes, strict=True)]
                loss0, loss1 = (loss[index].item() for _, loss in results[:2])
                check = Check(self.step_number, member.train_loss, loss0, accuracies[0], loss1, *accuracies[1:])
                member.apply_check(check, population.weights[index], self.run.protocol)
        self._drop_ended(members)

    def _folded(self) -> Population:
        """The learning members, folded into models with the run's own mixer."""
        shape, learner = self.run.model, self.run.learner
        learned = zip(self.learning, self.population.weights, strict=True)
        models = [load(learner.build(member.seed), weights) for member, weights in learned]
        return Population([fold(model, shape, self.run.mixer).to(self.device) for model in models], "loop")

    def _drop_ended(self, members: list[LearningMember]) -> None:
        """Removes the members whose training has ended from the population."""
        staying = [index for index, member in enumerate(members) if member.status is None]
        if len(staying) == len(members):
            return
        moments = self._moments()
        self.population.keep(staying)
        if self.average:
            self.average.keep(staying)
        self.optimiser = self._adam([moments[index] for index in staying])

    def _update(self, tokens: Tensor, labels: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Updates all weights once; returns each member's loss and the norm of its gradient, `[member]` both."""
        losses = self.population.losses(tokens, labels, lengths)
        self.population.backward(losses)
        self.optimiser.step()
        return losses.detach(), torch.linalg.vector_norm(self.population.gradients, dim=1)

    def _batch(self, members: list[LearningMember]) -> tuple[Tensor, ...]:
        """Tokens and labels `[member, batch, time]`, and on a CPU the strings' lengths `[member, batch]`.

        On a GPU all batches have one shape, so that the step can be recorded as a CUDA graph. Short batches are padded
        with a dummy string whose labels are all IGNORE.
        """
        index, size, data = self.step_number % self.steps_an_epoch, self.run.protocol.batch_size, self.splits.train
        rows = np.stack([self._order(member.seed)[index * size : (index + 1) * size] for member in members])
        if self._data is None:
            longest = int(data.lengths[rows].max())
            arrays = data.tokens[rows, :longest], data.labels[rows, :longest], data.lengths[rows]
            return tuple(map(torch.from_numpy, arrays))
        rows = np.pad(rows, ((0, 0), (0, size - rows.shape[1])), constant_values=len(data.lengths))
        indices = torch.from_numpy(rows).to(self.device)
        return tuple(tensor[indices] for tensor in self._data)

    def _order(self, seed: int) -> Order:
        """The order of the training strings in this epoch; it depends on the seed and the epoch alone."""
        epoch = self.step_number // self.steps_an_epoch
        if self._orders[0] != epoch:
            self._orders = epoch, {}
        orders = self._orders[1]
        if seed not in orders:
            orders[seed] = np.random.default_rng([seed, epoch]).permutation(len(self.splits.train.lengths))
        return orders[seed]

    def _adam(self, moments: list[Moments]) -> torch.optim.Adam:
        """An optimiser with one parameter vector a member; members with the same learning rate form one group."""
        protocol, population = self.run.protocol, self.population
        self._vectors = list(population.vectors.unbind())
        by_rate: dict[float, list[Tensor]] = {}
        for vector, gradient, member in zip(self._vectors, population.gradients, self.learning, strict=True):
            vector.grad = gradient
            by_rate.setdefault(member.learning_rate, []).append(vector)
        groups = [
            {"params": group, "lr": torch.tensor(rate, device=self.device) if self.on_gpu else rate, "initial_lr": rate}
            for rate, group in by_rate.items()
        ]
        betas = protocol.beta1, protocol.beta2
        adam = torch.optim.Adam(
            groups or [torch.zeros(0)], betas=betas, eps=protocol.epsilon, fused=True, capturable=self.on_gpu
        )
        for vector, parts in zip(self._vectors, moments, strict=True):
            if parts:
                steps = torch.tensor(float(self.step_number), device=self.device)
                adam.state[vector] = {"step": steps, **parts}
        self._run_update = GraphedStep(self._update) if self.on_gpu else self._update
        return adam

    def _moments(self) -> list[Moments]:
        """Adam's running means of each learning member, as vectors like its parameters; empty before the first step."""
        states = [self.optimiser.state.get(vector, {}) for vector in self._vectors]
        return [{part: state[part] for part in MOMENTS if part in state} for state in states]

    def save(self, path: Path) -> None:
        """Writes everything that the rest of the training depends on."""
        tensors: Weights = {}
        moving = [{AVERAGE: vector} for vector in self.average.vectors] if self.average else [{} for _ in self.learning]
        each = zip(self.learning, self.population.vectors, self._moments(), moving, strict=True)
        for member, vector, moments, average in each:
            for part, numbers in {"weights": vector, **moments, **average}.items():
                views = self.population.by_name(numbers)
                tensors.update({f"{member.seed}/{part}/{name}": view for name, view in views.items()})
        for member in self.members:
            for rule, (_, chosen) in member.chosen.items():
                tensors.update({f"{member.seed}/chosen-{rule}/{name}": w for name, w in chosen.items()})
        header = {
            "run": to_dict(self.run),
            "step": self.step_number,
            "seconds": self.seconds,
            "members": [_member_header(member) for member in self.members],
        }
        write_tensors(path, tensors, header)

    def resume(self, path: Path) -> None:
        """Restores the state that `save` wrote.

        Raises `UserError` if it belongs to another run, and `DamagedError` if it cannot be read.
        """
        tensors, header = read_tensors(path)
        if from_dict(Run, header["run"]) != self.run:  # fields that an older version did not have get their defaults
            raise UserError(f"{path} belongs to another run; remove it, or choose another folder")
        try:
            self._restore(tensors, header)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:  # of a former version, and cut by hand
            raise damaged(path, error) from error

    def _restore(self, tensors: Weights, header: dict[str, Any]) -> None:
        by_part: dict[tuple[int, str], Weights] = {}
        for full, tensor in tensors.items():
            seed, part, name = full.split("/", 2)
            by_part.setdefault((int(seed), part), {})[name] = tensor.to(self.device)
        self.step_number, self.seconds_before = header["step"], header["seconds"]
        for member, saved in zip(self.members, header["members"], strict=True):
            chosen = saved.pop("chosen")
            for name, value in saved.items():
                setattr(member, name, value)
            member.checks = [Check(**check) for check in saved["checks"]]
            member.chosen = {rule: (step, by_part[member.seed, f"chosen-{rule}"]) for rule, step in chosen.items()}
        self.population.keep([index for index, member in enumerate(self.members) if member.status is None])
        self.average = Average(self.population, self.average.decay) if self.average else None
        moments: list[Moments] = []
        for index, (member, vector) in enumerate(zip(self.learning, self.population.vectors, strict=True)):
            parts = {part: torch.zeros_like(vector) for part in MOMENTS}
            average = {AVERAGE: self.average.vectors[index]} if self.average else {}
            for part, numbers in {"weights": vector, **parts, **average}.items():
                for name, view in self.population.by_name(numbers).items():
                    view.copy_(by_part[member.seed, part][name])
            moments.append(parts)
        self.optimiser = self._adam(moments)

    def progress(self) -> Progress:
        """The progress of the run, for an observer."""
        members = tuple(member.progress() for member in self.members)
        return Progress(self.run.key, self.step_number, self.run.protocol.max_steps, members)

    @property
    def seconds(self) -> float:
        """Seconds spent on this run so far, including those before an interruption."""
        return self.seconds_before + time.monotonic() - self.started

    def save_checkpoints(self, folder: Path) -> None:
        """Writes one file for each member and selection rule."""
        for member in self.members:
            for rule, (step, weights) in member.chosen.items():
                checkpoint = Checkpoint(self.run, member.seed, rule, step, weights)
                save_checkpoint(checkpoint, checkpoint_path(folder, member.seed, rule))

    def record(self) -> Record:
        """Evaluates the selected checkpoints on every split and returns the record of the run."""
        named = named_splits(self.splits)
        guesses = [(key, chance(self.splits.train, data)) for key, data in named]
        return Record(
            run=self.run,
            members=tuple(self._member(member, named) for member in self.members),
            parameters=self.parameters,
            state_size=self.state_size,
            splits=summaries(self.run, self.splits),
            chance=tuple(Chance(*key, majority, symbolwise) for key, (majority, symbolwise) in guesses),
            environment=environment(self.device) | {"population": self.population_mode},
            seconds=self.seconds,
        )

    def _member(self, member: LearningMember, named: list[tuple[SplitKey, Dataset]]) -> Member:
        correct_at: dict[int, list[int]] = {}
        for step, weights in member.chosen.values():
            if step not in correct_at:
                model = Checkpoint(self.run, member.seed, "last", step, weights).model().to(self.device)
                correct_at[step] = [int(score(model, data, self.device)[0]) for _, data in named]
        scores = tuple(
            Score(rule, *key, len(data.lengths), correct)
            for rule, (step, _) in member.chosen.items()
            for (key, data), correct in zip(named, correct_at[step], strict=True)
        )
        selected: dict[str, int] = {rule: step for rule, (step, _) in member.chosen.items()}
        status = member.status or "budget"
        rate, checks = member.learning_rate, tuple(member.checks)
        return Member(member.seed, rate, status, member.steps, checks, selected, scores)


def population_mode(run: Run, device: str) -> tuple[Literal["stack", "loop"], str]:
    """Whether the members of a run are stacked or trained one after the other, and why.

    On a CPU with packed batches, "loop" replaces "stack" from a batch size of `PACKED_FROM`: a stacked population also
    computes the padding, which then costs more than the overhead of separate calls. `scripts/packing.py` measures
    this: at a batch size of 8 both are about equally fast. On a GPU the run's own choice is kept.
    """
    packed = run.mixer.packs and ops.packs(torch.device(device), torch.float32)
    if run.population == "stack" and packed and run.protocol.batch_size >= PACKED_FROM:
        return "loop", f"packed batches of {PACKED_FROM} or more are faster on a CPU"
    return run.population, f"asked for: {run.population}"


def with_dummy_string(data: Dataset, device: str) -> tuple[Tensor, Tensor]:
    """Tokens and labels `[strings + 1, time]` on the device; the labels of the last string are all IGNORE."""
    labels = np.pad(data.labels, ((0, 1), (0, 0)), constant_values=IGNORE)
    tokens = np.pad(data.tokens, ((0, 1), (0, 0)))
    return torch.from_numpy(tokens).to(device), torch.from_numpy(labels).to(device)


def _member_header(member: LearningMember) -> dict[str, Any]:
    header = {f.name: getattr(member, f.name) for f in dataclasses.fields(member)}
    header["checks"] = [dataclasses.asdict(check) for check in member.checks]
    header["chosen"] = {rule: step for rule, (step, _) in member.chosen.items()}
    return header
