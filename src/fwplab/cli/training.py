"""`fwplab train` and `evaluate`."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, arg

from fwplab.cli.changes import changed, changes
from fwplab.cli.checkpoints import find_checkpoint
from fwplab.cli.console import emit, seeded
from fwplab.cli.doctor import check_once
from fwplab.cli.progress import ProgressView
from fwplab.cli.switches import parse_mixer
from fwplab.data.dataset import MOST_POSITIONS, encode
from fwplab.data.imported import reference
from fwplab.data.splits import SplitSpec
from fwplab.data.tasks import Recognition, Task, for_task, non_words
from fwplab.errors import UserError, shown
from fwplab.languages import Language, load_language, short_name
from fwplab.model.spec import ModelSpec
from fwplab.tables.columns import to_json
from fwplab.tables.numbers import percent
from fwplab.tables.rows import row
from fwplab.tables.statistics import wilson
from fwplab.tables.terminal import render_terminal
from fwplab.training.protocol import PROTOCOLS, Protocol, Rule
from fwplab.training.record import Record
from fwplab.training.run import Run
from fwplab.training.spec import from_dict, to_dict

MOST_SEEDS = 10_000
MOST_STRINGS = 1_000_000
Training = changes(Protocol, ("max_steps", "batch_size", "check_every", "schedule", "patience", "average"), PROTOCOLS)
Strings = changes(
    SplitSpec,
    ("train_strings", "validation_strings", "test_strings"),
    {name: protocol.splits for name, protocol in PROTOCOLS.items()},
)


@dataclass(frozen=True)
class Train:
    """Trains a mixer on a language with several seeds, and prints their accuracies and checkpoints.

    With --task recognition, half of the strings are words. Half of the other strings are one edit away from a word.
    """

    language: str
    """Name of a language (fwplab languages), or a definition such as "regex:(ab|ba)*"."""
    mixer: str
    """Name of a mixer: fwplab mixers."""
    seeds: int = 3
    """How many seeds."""
    first_seed: int = 0
    """The first seed; the others follow it."""
    learning_rate: tuple[float, ...] = (3e-3,)
    """One learning rate, or one for each seed."""
    task: Task = "transduction"
    """transduction: give a label at every position of a word. recognition: say whether a string is a word."""
    model: ModelSpec = ModelSpec()
    protocol: str = "paper"
    """paper or strict. The options below replace single values of it."""
    training: Annotated[Any, arg(constructor=Training)] = Training()
    strings: Annotated[Any, arg(constructor=Strings)] = Strings()
    switch: tuple[str, ...] = ()
    """Switches of the mixer, NAME=VALUE (fwplab mixers)."""
    trained_as: str | None = None
    """Mixer of the models during training, such as split-delta-net. Each evaluation folds them into --mixer."""
    corpus: str | None = None
    """Name of an imported corpus to train on (fwplab corpus import)."""
    workers: int | None = None
    """Number of processes; by default the number of usable cores."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.engines import Local, plan, train_all
        from fwplab.storage.store import Store, folder_of
        from fwplab.training.checkpoint import checkpoint_path

        run = self.run()
        check_device(self.device)
        check_once(self.device)
        engine = Local(self.workers, self.device)
        with Store() as store:
            runs = plan(run, store, engine.workers if self.device == "cpu" else 1)
            with ProgressView(runs) as view:
                train_all(runs, store, engine, observe=view.observe)
            records = store.found(run)
        rule = run.protocol.selection
        summary = row(records, rule, "")
        checkpoints = {
            str(record.members[0].seed): str(checkpoint_path(folder_of(record.run), record.members[0].seed, rule))
            for record in records
            if rule in record.members[0].selected
        }
        facts = {
            **to_json([summary])[0],
            "task": self.task,
            "checkpoints": checkpoints,
            "members": [_member_facts(record, run.protocol) for record in records],
        }
        emit(facts, as_json=self.json, text=render_terminal([summary]))
        if not self.json:
            if self.task == "recognition":
                print("task: recognition; a string counts as right by the answer at its end, whether it is a word")
            for seed, path in checkpoints.items():
                print(f"seed {seed}: {path}")
        return 0

    def run(self) -> Run:
        """The run that the options describe."""
        check_seeds(self.seeds)
        if self.protocol not in PROTOCOLS:
            raise UserError(f"unknown protocol {self.protocol!r}; choose from: {', '.join(PROTOCOLS)}")
        protocol = changed(PROTOCOLS[self.protocol], self.training)
        splits = replace(changed(protocol.splits, self.strings), task=self.task)
        language = for_task(load_language(self.language), self.task)
        run = Run(
            language=language.name,
            mixer=parse_mixer(self.mixer, self.switch),
            seeds=tuple(range(self.first_seed, self.first_seed + self.seeds)),
            learning_rates=self.learning_rate,
            model=self.model,
            protocol=replace(protocol, splits=splits),
            corpus=reference(self.corpus, language) if self.corpus else None,
            trained_as=parse_mixer(self.trained_as, ()) if self.trained_as else None,
        )
        return from_dict(Run, to_dict(run))  # numbers that no database holds are refused before the training


def check_seeds(seeds: int) -> None:
    """Raises `UserError` for a number of seeds that nobody can train."""
    if not 1 <= seeds <= MOST_SEEDS:
        raise UserError(f"seeds is how many there are, from 1 to {MOST_SEEDS:,}, not {shown(seeds)}")


def check_device(device: str) -> None:
    """Raises `UserError` if torch cannot use the device."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        choices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        raise UserError(f"device {device!r} cannot be used here; choose from: {', '.join(choices)}") from error


def _member_facts(record: Record, protocol: Protocol) -> dict[str, Any]:
    (member,) = record.members
    scores = [
        {**dataclasses.asdict(score), "accuracy": score.accuracy}
        for score in member.scores
        if score.rule == protocol.selection
    ]
    return {
        "seed": member.seed,
        "learning_rate": member.learning_rate,
        "status": member.status,
        "steps": member.steps,
        "selected_step": member.selected.get(protocol.selection),
        "run": record.run.key,
        "scores": scores,
    }


@dataclass(frozen=True)
class Evaluate:
    """Measures the accuracy of a checkpoint on new strings of any length.

    Strings are streamed in constant memory if the mixer allows it.
    """

    checkpoint: Positional[str]
    """A checkpoint file; the key of a run; or LANGUAGE/MIXER for the checkpoint that comes with the package."""
    rule: Rule = "paper"
    """For the key of a run: the selection rule whose checkpoint is read."""
    lengths: tuple[int, ...] = (50, 100, 200, 500, 1000)
    """The lengths of the strings."""
    strings: int = 100
    """Strings of each length. If the language has fewer words of a length, all of them are used once."""
    seed: int = 1
    """Seed of the random strings."""
    language: str | None = None
    """Another language than that of training, with as many symbols and label classes."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.training.evaluate import chance, first_errors
        from fwplab.training.run_splits import load_splits

        check_device(self.device)
        if not self.lengths:
            raise UserError("--lengths needs at least one length")
        checkpoint = find_checkpoint(self.checkpoint, self.rule)
        model = checkpoint.model().to(self.device).eval()
        task = checkpoint.run.protocol.splits.task
        language = for_task(load_language(self.language or checkpoint.run.language), task)
        if _sizes(language) != _sizes(checkpoint.run.task_language):
            raise UserError(
                f"{language.name} has another alphabet than {checkpoint.run.language}, which the model reads"
            )
        if max(self.lengths) > language.longest:
            raise UserError(f"a string has at most {language.longest:,} symbols, not {shown(max(self.lengths))}")
        if not 1 <= self.strings <= MOST_STRINGS:
            raise UserError(f"strings is how many there are, from 1 to {MOST_STRINGS:,}, not {shown(self.strings)}")
        if max(self.lengths, default=0) * self.strings > MOST_POSITIONS:
            raise UserError(
                f"{self.strings:,} strings of {max(self.lengths):,} symbols need too much memory; choose at most "
                f"{MOST_POSITIONS:,} symbols in all of a length"
            )
        train = load_splits(checkpoint.run).train
        generator = seeded(self.seed)
        rows = []
        for length in self.lengths:
            data = encode(language, _strings(language, length, self.strings, generator))
            errors = first_errors(model, data, self.device)
            wrong = [error for error in errors if error is not None]
            right = len(errors) - len(wrong)
            rows.append(
                {
                    "length": length,
                    "strings": len(errors),
                    "correct": right,
                    "accuracy": right / len(errors),
                    "interval": list(wilson(right, len(errors))),
                    "median_first_error": float(np.median(wrong)) if wrong else None,
                    "chance": max(chance(train, data)),
                }
            )
        facts = {
            "run": checkpoint.run.key,
            "language": language.name,
            "task": task,
            "mixer": checkpoint.run.mixer_name,
            "seed": checkpoint.seed,
            "selection": checkpoint.rule,
            "step": checkpoint.step,
            "constant_memory": checkpoint.run.mixer.constant_memory,
            "lengths": rows,
        }
        emit(facts, as_json=self.json, text=_evaluation_table(facts, checked=checkpoint.checked))
        return 0


def _sizes(language: Language) -> tuple[int, int]:
    return len(language.symbols), len(language.classes)


def _strings(language: Language, length: int, number: int, generator: np.random.Generator) -> list[str]:
    """Words of this length; for recognition, half of the strings are non-words with about this length."""
    if not isinstance(language, Recognition):
        return _draw(language, length, number, generator)
    words = _draw(language, length, number - number // 2, generator)
    return words + non_words(language, [length] * min(number // 2, len(words)), generator)


def _draw(language: Language, length: int, number: int, generator: np.random.Generator) -> list[str]:
    count = language.count(length) if length > 0 else 0
    if count > number:
        return language.sample([length] * number, generator)
    if count == 0:
        near = ", ".join(map(str, language.lengths(max(1, length - 8), length + 8)))
        raise UserError(f"{language.name} has no word of length {length}; choose from: {near or 'larger lengths'}")
    return sorted(set(language.sample([length] * (20 * count), generator)))


def _evaluation_table(facts: dict[str, Any], *, checked: bool) -> Table:
    where = "at every position" if facts["task"] == "transduction" else "at the end"
    title = (
        f"{facts['mixer']} on {escape(short_name(facts['language']))}, seed {facts['seed']}, checkpoint of the "
        f"{facts['selection']} rule at step {facts['step']}{'' if checked else ' (a file without a checksum)'}: "
        f"strings right {where}"
    )
    table = Table(
        "length", "strings", "right %", "95 % interval", "chance %", "median first error", title=title, box=None
    )
    for each in facts["lengths"]:
        low, high = each["interval"]
        first = each["median_first_error"]
        table.add_row(
            str(each["length"]),
            str(each["strings"]),
            percent(each["accuracy"]),
            f"{percent(low)}-{percent(high)}",
            percent(each["chance"]),
            "none" if first is None else f"position {first + 1:.0f}",
        )
    return table
