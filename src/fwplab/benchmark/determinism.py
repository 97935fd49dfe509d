"""Trains the same run under different conditions and compares the bits of the results.

Each condition has a process of its own, because a process chooses the instruction set of the compiled kernels once.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fwplab.data.splits import SplitSpec
from fwplab.errors import WorkError
from fwplab.mixers import MIXERS
from fwplab.model.spec import ModelSpec
from fwplab.ops.cpu import library
from fwplab.training.checkpoint import checkpoint_path, load_checkpoint
from fwplab.training.protocol import Protocol
from fwplab.training.run import Run
from fwplab.training.spec import from_json, to_dict
from fwplab.training.trainer import train, train_until

COMPARED = ("delta-net", "srwm", "lstm", "transformer")
SEEDS = (0, 1, 2)
STEPS = 100
SAME_BITS = ("the same again", "interrupted in the middle and continued")
"""The conditions under which a training ends with the same bits on every machine. The others change rounding errors."""
SPLITS = SplitSpec(train_strings=1_000, validation_strings=100, test_lengths=((51, 100),), test_strings=100)


@dataclass(frozen=True)
class Condition:
    """What one training does differently from the first one.

    The first one trains all members as a stack, in one thread, without a break, with the best instruction set.
    """

    name: str = SAME_BITS[0]
    """What is different, for the table."""
    threads: int = 1
    """The number of PyTorch's threads."""
    population: Literal["stack", "loop"] = "stack"
    """As of `Run`."""
    alone: bool = False
    """Whether each member is a run of its own, as with one worker a seed."""
    interrupted: bool = False
    """Whether the training ends in the middle and continues from its saved state in a new process."""
    kernels: str = ""
    """The variant of the compiled kernels; empty for the best."""


@dataclass(frozen=True)
class Agreement:
    """How far the weights and scores of a training agree with those of the first one."""

    mixer: str
    """The name of the mixer."""
    condition: str
    """The name of the condition."""
    equal_bits: bool
    """Whether all weights of all members have the same bits."""
    difference: float
    """The largest difference of two weights, as a share of the largest weight of their tensor."""
    equal_scores: bool
    """Whether the accuracies of all members on all splits are the same."""


def conditions() -> list[Condition]:
    """The conditions that this machine can compare."""
    best, *others = [variant for variant in library.runnable_variants() if library.path_of(variant).exists()] or [""]
    return [
        Condition(),
        Condition("two threads", threads=2),
        Condition("one run a seed, as with as many workers", alone=True),
        Condition("the members in a loop, not stacked", population="loop"),
        Condition(SAME_BITS[1], interrupted=True),
        *(Condition(f"kernels for {variant} in place of {best}", kernels=variant) for variant in others),
    ]


def compare(mixers: Sequence[str] = COMPARED, steps: int = STEPS) -> Iterator[Agreement]:
    """Trains every mixer under every condition. Yields the agreements with the first training, condition by condition.

    mixers: names of the catalogue, trained with their defaults on parity, three seeds each.
    steps: the number of training steps.

    Raises `WorkError` if a training fails.
    """
    runs = [_run(name, steps) for name in mixers]
    with tempfile.TemporaryDirectory() as folder:
        first = _trained(runs, Condition(), Path(folder) / "first")
        for index, condition in enumerate(conditions()):
            found = _trained(runs, condition, Path(folder) / str(index))
            for run in runs:
                yield _agreement(run.mixer_name, condition.name, first[run.mixer_name], found[run.mixer_name])


def _run(mixer: str, steps: int) -> Run:
    protocol = Protocol(max_steps=steps, stop="every_rule", patience=steps, splits=SPLITS)
    return Run("parity", MIXERS.load(mixer)(), SEEDS, model=ModelSpec(hidden=16, layers=1, heads=4), protocol=protocol)


Result = tuple[dict[str, torch.Tensor], dict[str, list[float]]]
"""The weights by seed and name, and the accuracies by seed."""


def _trained(runs: Sequence[Run], condition: Condition, folder: Path) -> dict[str, Result]:
    """Trains the runs under a condition in processes of their own. Returns the results by the names of the mixers."""
    parts = [run.member(seed) for run in runs for seed in run.seeds] if condition.alone else list(runs)
    parts = [dataclasses.replace(run, population=condition.population) for run in parts]
    limits = [run.protocol.max_steps // 2 for run in parts] if condition.interrupted else []
    for limit in [*dict.fromkeys(limits), 0]:
        _process(parts, folder, condition, limit)
    results: dict[str, Result] = {run.mixer_name: ({}, {}) for run in runs}
    for run in parts:
        weights, scores = results[run.mixer_name]
        place = folder / run.key
        scores.update(json.loads((place / "scores.json").read_text("utf-8")))
        for seed in run.seeds:
            last = load_checkpoint(checkpoint_path(place, seed, "last")).weights
            weights.update({f"{seed}/{name}": weight for name, weight in last.items()})
    return results


def _process(runs: Sequence[Run], folder: Path, condition: Condition, limit: int) -> None:
    chosen = {library.CHOICE: condition.kernels} if condition.kernels else {}
    words = [sys.executable, "-m", __name__, str(folder), str(condition.threads), str(limit)]
    specs = json.dumps([to_dict(run) for run in runs])
    done = subprocess.run(words, input=specs, env={**os.environ, **chosen}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkError(f"the training with {condition.name} failed: {(done.stderr.strip() or '?').splitlines()[-1]}")


def _agreement(mixer: str, condition: str, first: Result, found: Result) -> Agreement:
    pairs = [(weight, found[0][name]) for name, weight in first[0].items()]
    shares = [float((a - b).abs().max() / a.abs().max().clamp(min=torch.finfo(a.dtype).tiny)) for a, b in pairs]
    equal = all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in pairs)
    return Agreement(mixer, condition, equal, max(shares), first[1] == found[1])


def main(words: Sequence[str]) -> None:
    """Trains the runs whose specs the standard input holds as JSON.

    words: a folder, the number of threads, and the step at which to stop and save (0 to train to the end).
    """
    folder, threads, limit = Path(words[0]), int(words[1]), int(words[2])
    torch.set_num_threads(threads)
    for spec in json.load(sys.stdin):
        run = from_json(Run, json.dumps(spec))
        place = folder / run.key
        if limit:
            train_until(limit, run, folder=place)
            continue
        record = train(run, folder=place)
        scores = {str(each.seed): [score.accuracy for score in each.scores] for each in record.members}
        (place / "scores.json").write_text(json.dumps(scores), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
