"""The one trainer: for one member or many, resumable to the same bits."""

import dataclasses
import math
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fwplab import contract, ops
from fwplab.checkpoint import Checkpoint, checkpoint_path, read_tensors, save_checkpoint, write_tensors
from fwplab.corpora import corpus_splits
from fwplab.environment import environment
from fwplab.errors import UserError
from fwplab.evaluate import chance, score
from fwplab.languages import LANGUAGES, language
from fwplab.languages.contract import check as check_language
from fwplab.languages.dataset import IGNORE, Dataset
from fwplab.languages.splits import Splits, SplitSpec, SplitSummary, make_splits, summarise
from fwplab.outside import fingerprint
from fwplab.population import Population, Weights
from fwplab.record import Chance, Check, Member, Progress, Record, Score
from fwplab.recorded import Recorded, Work
from fwplab.run import Protocol, Run, from_dict, to_dict
from fwplab.selection import LearningMember

RESUME = "resume.safetensors"
SAVE_EVERY_SECONDS = 10.0
REPORT_EVERY_SECONDS = 0.5
PACKED_FROM = 16
"""Strings in a batch from which packing them beats stacking members on a CPU."""

Observer = Callable[[Progress], None]
Moments = dict[str, Tensor]
Order = np.ndarray[Any, np.dtype[np.int64]]
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What Adam keeps of a member besides the number of its steps."""


def train(run: Run, *, folder: Path | None = None, device: str = "cpu", observe: Observer | None = None) -> Record:
    """Trains every member of `run` and returns its record.

    With a `folder`, the state is written there every few seconds and training goes on from it: a run that was killed
    at any instant and started again ends with the same bits as one that was not. Selected checkpoints are written
    there too. A member whose gradient is not finite is recorded as diverged and dropped.
    """
    training = Training(run, device)
    if folder is not None and (folder / RESUME).exists():
        training.resume(folder / RESUME)
    saved = reported = time.monotonic()
    while training.learning:
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
        training.save_checkpoints(folder)
    return training.record()


class Training:
    """The state of a run between two steps."""

    def __init__(self, run: Run, device: str) -> None:
        if run.code != run.code_here:
            which = f"mixer {run.mixer_name!r} or language {run.language!r}"
            raise UserError(f"{which} has other code here than where run {run.key} was asked for")
        self.run, self.device = run, device
        self.splits = load_splits(run)
        self.members = [LearningMember(seed, run.rate_of(seed)) for seed in run.seeds]
        self.step_number = 0
        self.seconds_before, self.started = 0.0, time.monotonic()
        models = [run.build(seed).to(device) for seed in run.seeds]
        if fingerprint(type(run.mixer)):  # those here have tests of their own
            contract.check(run.mixer_name, models[0])
        self.parameters, self.state_size = models[0].parameter_count(), models[0].state_size()
        self.population = Population(models, *lift(run, device))
        self.lift = f"{self.population.lift} ({self.population.why})"
        self.on_gpu = torch.device(device).type == "cuda"
        if self.on_gpu:
            torch.backends.cudnn.allow_tf32 = False  # an LSTM's products would keep 10 bits of float32's 23
        self._orders: tuple[int, dict[int, Order]] = -1, {}
        self._data = None if device == "cpu" else padded(self.splits.train, device)
        self._learn: Work
        self.optimiser = self._adam([{} for _ in run.seeds])

    @property
    def learning(self) -> list[LearningMember]:
        """The members that still learn, in the population's order."""
        return [member for member in self.members if member.status is None]

    @property
    def steps_an_epoch(self) -> int:
        """Batches in one pass over the training strings, the last one smaller."""
        return math.ceil(len(self.splits.train.lengths) / self.run.protocol.batch_size)

    def step(self) -> None:
        """One step of Adam for every learning member, each on its own batch."""
        members = self.learning
        factor = self.run.protocol.rate_factor(self.step_number)
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):  # a recorded step reads it where it lies
                group["lr"].fill_(group["initial_lr"] * factor)
            else:
                group["lr"] = group["initial_lr"] * factor
        losses, norms = self._learn(*self._batch(members))
        self.step_number += 1
        for member, value, finite in zip(members, losses.tolist(), norms.isfinite().tolist(), strict=True):
            member.steps, member.train_loss = self.step_number, value
            member.status = None if finite else "diverged"
        self._dismiss(members)

    def check_is_due(self) -> bool:
        """Every `check_every` steps, at each epoch's end, and after the last step."""
        protocol, n = self.run.protocol, self.step_number
        return n % protocol.check_every == 0 or n % self.steps_an_epoch == 0 or n == protocol.max_steps

    def check(self) -> None:
        """Scores the learning members on both bins, keeps what the rules choose, and dismisses who is done."""
        members = self.learning
        if not members:
            return
        looked_at = [self.splits.bin0, self.splits.bin1, *reported(self.run.protocol, self.splits)]
        sizes = [len(data.lengths) for data in looked_at]
        results = [score(self.population, data, self.device) for data in looked_at]
        for index, member in enumerate(members):
            shares = [right[index].item() / size for (right, _), size in zip(results, sizes, strict=True)]
            loss0, loss1 = (loss[index].item() for _, loss in results[:2])
            check = Check(self.step_number, member.train_loss, loss0, shares[0], loss1, *shares[1:])
            member.take(check, self.population.weights[index], self.run.protocol)
        self._dismiss(members)

    def _dismiss(self, members: list[LearningMember]) -> None:
        """Takes members that got a status out of the population."""
        staying = [index for index, member in enumerate(members) if member.status is None]
        if len(staying) == len(members):
            return
        moments = self._moments()
        self.population.keep(staying)
        self.optimiser = self._adam([moments[index] for index in staying])

    def _move(self, tokens: Tensor, labels: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Everything that a step does to the weights; each member's loss, and the size of its gradient."""
        losses = self.population.losses(tokens, labels, lengths)
        self.population.backward(losses)
        self.optimiser.step()
        return losses.detach(), torch.linalg.vector_norm(self.population.gradients, dim=1)

    def _batch(self, members: list[LearningMember]) -> tuple[Tensor, ...]:
        """Tokens and labels `[member, batch, time]`, and on a CPU the strings' lengths `[member, batch]`.

        On a GPU the strings lie there from the start, and every batch has the same shape, so that the step can be
        recorded: what is missing is the string behind the last, which asks for nothing.
        """
        index, size, data = self.step_number % self.steps_an_epoch, self.run.protocol.batch_size, self.splits.train
        rows = np.stack([self._order(member.seed)[index * size : (index + 1) * size] for member in members])
        if self._data is None:
            longest = int(data.lengths[rows].max())
            arrays = data.tokens[rows, :longest], data.labels[rows, :longest], data.lengths[rows]
            return tuple(map(torch.from_numpy, arrays))
        rows = np.pad(rows, ((0, 0), (0, size - rows.shape[1])), constant_values=len(data.lengths))
        places = torch.from_numpy(rows).to(self.device)
        return tuple(tensor[places] for tensor in self._data)

    def _order(self, seed: int) -> Order:
        """The order in which a member sees the training strings in this epoch; depends on nothing else."""
        epoch = self.step_number // self.steps_an_epoch
        if self._orders[0] != epoch:
            self._orders = epoch, {}
        orders = self._orders[1]
        if seed not in orders:
            orders[seed] = np.random.default_rng([seed, epoch]).permutation(len(self.splits.train.lengths))
        return orders[seed]

    def _adam(self, moments: list[Moments]) -> torch.optim.Adam:
        """One vector of parameters a member, in a group with the others of the same rate."""
        protocol, population = self.run.protocol, self.population
        self._vectors = list(population.vectors.unbind())
        of_rate: dict[float, list[Tensor]] = {}
        for vector, gradient, member in zip(self._vectors, population.gradients, self.learning, strict=True):
            vector.grad = gradient
            of_rate.setdefault(member.learning_rate, []).append(vector)
        groups = [
            {"params": same, "lr": torch.tensor(rate, device=self.device) if self.on_gpu else rate, "initial_lr": rate}
            for rate, same in of_rate.items()
        ]
        betas = protocol.beta1, protocol.beta2
        adam = torch.optim.Adam(
            groups or [torch.zeros(0)], betas=betas, eps=protocol.epsilon, fused=True, capturable=self.on_gpu
        )
        for vector, parts in zip(self._vectors, moments, strict=True):
            if parts:
                steps = torch.tensor(float(self.step_number), device=self.device)
                adam.state[vector] = {"step": steps, **parts}
        self._learn = Recorded(self._move) if self.on_gpu else self._move
        return adam

    def _moments(self) -> list[Moments]:
        """Each member's running means, vectors as its parameters are; empty before the first step."""
        states = [self.optimiser.state.get(vector, {}) for vector in self._vectors]
        return [{part: state[part] for part in MOMENTS if part in state} for state in states]

    def save(self, path: Path) -> None:
        """Everything that the rest of the training depends on."""
        tensors: Weights = {}
        for member, vector, moments in zip(self.learning, self.population.vectors, self._moments(), strict=True):
            for part, numbers in {"weights": vector, **moments}.items():
                named = self.population.named(numbers)
                tensors.update({f"{member.seed}/{part}/{name}": tensor for name, tensor in named.items()})
        for member in self.members:
            for rule, (_, chosen) in member.chosen.items():
                tensors.update({f"{member.seed}/chosen-{rule}/{name}": w for name, w in chosen.items()})
        facts = {
            "run": to_dict(self.run),
            "step": self.step_number,
            "seconds": self.seconds,
            "members": [_facts(member) for member in self.members],
        }
        write_tensors(path, tensors, facts)

    def resume(self, path: Path) -> None:
        """Goes on from what `save` wrote."""
        tensors, facts = read_tensors(path)
        if from_dict(Run, facts["run"]) != self.run:  # compared with the defaults of fields that came later
            raise UserError(f"{path} belongs to another run; remove it, or choose another folder")
        by_part: dict[tuple[int, str], Weights] = {}
        for full, tensor in tensors.items():
            seed, part, name = full.split("/", 2)
            by_part.setdefault((int(seed), part), {})[name] = tensor.to(self.device)
        self.step_number, self.seconds_before = facts["step"], facts["seconds"]
        for member, saved in zip(self.members, facts["members"], strict=True):
            chosen = saved.pop("chosen")
            for name, value in saved.items():
                setattr(member, name, value)
            member.checks = [Check(**check) for check in saved["checks"]]
            member.chosen = {rule: (step, by_part[member.seed, f"chosen-{rule}"]) for rule, step in chosen.items()}
        self.population.keep([index for index, member in enumerate(self.members) if member.status is None])
        moments: list[Moments] = []
        for member, vector in zip(self.learning, self.population.vectors, strict=True):
            parts = {part: torch.zeros_like(vector) for part in MOMENTS}
            for part, numbers in {"weights": vector, **parts}.items():
                for name, view in self.population.named(numbers).items():
                    view.copy_(by_part[member.seed, part][name])
            moments.append(parts)
        self.optimiser = self._adam(moments)

    def progress(self) -> Progress:
        """What an observer sees."""
        members = tuple(member.progress() for member in self.members)
        return Progress(self.run.key, self.step_number, self.run.protocol.max_steps, members)

    @property
    def seconds(self) -> float:
        """Time spent on this run so far, earlier sittings included."""
        return self.seconds_before + time.monotonic() - self.started

    def save_checkpoints(self, folder: Path) -> None:
        """One file a member and rule."""
        for member in self.members:
            for rule, (step, weights) in member.chosen.items():
                checkpoint = Checkpoint(self.run, member.seed, rule, step, weights)
                save_checkpoint(checkpoint, checkpoint_path(folder, member.seed, rule))

    def record(self) -> Record:
        """Scores the selected checkpoints on every split and gathers what a reader needs."""
        named = named_splits(self.splits)
        guesses = [(where, chance(self.splits.train, data)) for where, data in named]
        return Record(
            run=self.run,
            members=tuple(self._member(member, named) for member in self.members),
            parameters=self.parameters,
            state_size=self.state_size,
            splits=_summaries([*_train(self.splits), *named], self.splits.train),
            chance=tuple(Chance(*where, majority, symbolwise) for where, (majority, symbolwise) in guesses),
            environment=environment(self.device) | {"population": self.lift},
            seconds=self.seconds,
        )

    def _member(self, member: LearningMember, named: list[tuple["Where", Dataset]]) -> Member:
        right_at: dict[int, list[int]] = {}
        for step, weights in member.chosen.values():
            if step not in right_at:
                model = Checkpoint(self.run, member.seed, "last", step, weights).model().to(self.device)
                right_at[step] = [int(score(model, data, self.device)[0]) for _, data in named]
        scores = tuple(
            Score(rule, *where, len(data.lengths), right)
            for rule, (step, _) in member.chosen.items()
            for (where, data), right in zip(named, right_at[step], strict=True)
        )
        selected: dict[str, int] = {rule: step for rule, (step, _) in member.chosen.items()}
        status = member.status or "budget"
        rate, checks = member.learning_rate, tuple(member.checks)
        return Member(member.seed, rate, status, member.steps, checks, selected, scores)


def lift(run: Run, device: str) -> tuple[Literal["stack", "loop"], str]:
    """How the members of a run are trained together, and why.

    Measured by `benchmarks/packing.py`: at a batch of 8, where the overhead of every operation counts, a stack is about
    as fast as members one after the other whose batches are packed; from 16 on it loses to them, because it works on
    padding. On a GPU stacking is everything.
    """
    packed = run.mixer.packs and ops.packs(torch.device(device), torch.float32)
    if run.population == "stack" and packed and run.protocol.batch_size >= PACKED_FROM:
        return "loop", f"packed batches of {PACKED_FROM} or more are faster on a CPU"
    return run.population, f"asked for: {run.population}"


Where = tuple[str, int, int]


def load_splits(run: Run) -> Splits:
    """The strings that a run is trained and judged on."""
    return _splits(run.language, run.corpus, run.protocol.splits)


@lru_cache(maxsize=len(LANGUAGES.names()))  # a worker trains seed after seed of the same cells
def _splits(name: str, corpus: str | None, spec: SplitSpec) -> Splits:
    spoken = language(name)
    if fingerprint(type(spoken)):
        check_language(spoken)
    return corpus_splits(corpus, spoken, spec) if corpus else make_splits(spoken, spec)


def named_splits(splits: Splits) -> list[tuple[Where, Dataset]]:
    """The splits that are scored, each with its name and its range of lengths."""
    bins = [((name, *_range(data)), data) for name, data in (("bin0", splits.bin0), ("bin1", splits.bin1))]
    return bins + [(("test", *lengths), data) for lengths, data in splits.tests.items()]


def reported(protocol: Protocol, splits: Splits) -> list[Dataset]:
    """The strings that the oracle sees: the test set of Bin1's lengths, or the first there is."""
    tests = splits.tests
    if not protocol.oracle or not tests:
        return []
    return [tests[protocol.splits.longer_lengths if protocol.splits.longer_lengths in tests else next(iter(tests))]]


def padded(data: Dataset, device: str) -> tuple[Tensor, Tensor]:
    """Tokens and labels on the device, with one string more that asks for nothing."""
    labels = np.pad(data.labels, ((0, 1), (0, 0)), constant_values=IGNORE)
    tokens = np.pad(data.tokens, ((0, 1), (0, 0)))
    return torch.from_numpy(tokens).to(device), torch.from_numpy(labels).to(device)


def _facts(member: LearningMember) -> dict[str, Any]:
    facts = {f.name: getattr(member, f.name) for f in dataclasses.fields(member)}
    facts["checks"] = [dataclasses.asdict(check) for check in member.checks]
    facts["chosen"] = {rule: step for rule, (step, _) in member.chosen.items()}
    return facts


def _range(data: Dataset) -> tuple[int, int]:
    return int(data.lengths.min()), int(data.lengths.max())


def _train(splits: Splits) -> list[tuple[Where, Dataset]]:
    return [(("train", *_range(splits.train)), splits.train)]


def _summaries(named: list[tuple[Where, Dataset]], train: Dataset) -> tuple[SplitSummary, ...]:
    return tuple(summarise(name, data.strings, train.strings, (low, high)) for (name, low, high), data in named)
