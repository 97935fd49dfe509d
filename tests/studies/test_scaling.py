"""The study `scaling`: its measurements, its table, and that it measures each checkpoint once."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.text import Text
from tests.studies.test_study import record_with_accuracy
from tests.training.test_trainer import small_run

from fwplab.cli import run as command
from fwplab.data.dataset import encode
from fwplab.languages import LANGUAGES
from fwplab.recipes.recipe import recipe
from fwplab.storage.store import Store
from fwplab.studies.probing import Probing
from fwplab.studies.scaling import Scaling
from fwplab.studies.study import unmeasured
from fwplab.training.checkpoint import checkpoint_path, load_checkpoint
from fwplab.training.evaluate import first_errors
from fwplab.training.record import Measurement
from fwplab.training.run import Run
from fwplab.training.trainer import train


def small_run_of(name: str) -> Run:
    """A run on parity with one seed, which trains for a second."""
    return small_run(name, "parity", seeds=(0,))


@pytest.mark.parametrize("name", ["recurrent-delta", "lstm", "srwm", "transformer"])
def test_scaling_measures_the_same_as_an_evaluation(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwplab.studies.scaling.LENGTHS", (10, 30, 2_000))
    run = small_run_of(name)
    train(run, folder=tmp_path)
    checkpoint = load_checkpoint(checkpoint_path(tmp_path, 0, "paper"))
    found = {(m.length, m.name): m.value for m in Scaling().measure(checkpoint)}
    lengths = {length for length, _ in found}
    assert lengths == ({10, 30, 2_000} if run.mixer.constant_memory else {10, 30})
    words = sorted(set(LANGUAGES.load("parity")().sample([30] * 100, np.random.default_rng([2_000, 30]))))
    data = encode(LANGUAGES.load("parity")(), words)
    errors = [error for error in first_errors(checkpoint.model(), data) if error is not None]
    assert found[30, "correct"] == len(words) - len(errors)
    assert found[30, "first_error"] == np.median(errors)
    state = checkpoint.model().scan(torch.from_numpy(data.tokens))[1]
    norms = sum(part.flatten(1).square().sum(1) for layer in state for part in layer).sqrt()
    assert found[30, "norm"] == pytest.approx(norms.median().item(), rel=1e-4)
    layers = zip(checkpoint.model().mixers, state, strict=True)
    assert ((30, "saturation") in found) == any(mixer.saturation(part) is not None for mixer, part in layers)


def test_scaling_reports_the_first_failing_length_and_keeps_other_measurements(tmp_path: Path) -> None:
    run = recipe("parity", "recurrent-delta").run((0, 1))
    values = {100: (100, 0.0), 10_000: (40, 0.5)}
    with Store() as store:
        store.save(record_with_accuracy(run, 60))
        assert unmeasured([run], store, Scaling()) == [run]
        for seed in run.seeds:
            found = [
                Measurement("scaling", "paper", length, name, value)
                for length, (right, saturation) in values.items()
                for name, value in {
                    "strings": 100.0,
                    "correct": right - seed,
                    "norm": 2.0 if seed == 0 else math.nan,
                    "chance": 0.0,
                    "saturation": saturation,
                    "first_error": 7.0 + 2 * seed,
                }.items()
            ]
            store.measure(run.key, seed, [*found, Measurement("other", "last", 1, "x", 1.0)])
            store.measure(run.key, seed, found)  # replaces the same values, and keeps those of the other study
        (record,) = store.records()
        assert unmeasured([run], store, Scaling()) == []
        assert unmeasured([run], store, Probing()) == [run]
    assert all(len(member.measured) == 13 for member in record.members)
    (cell,) = Scaling().rows([record])
    (fact,) = Scaling().facts([cell])
    assert [reach["accuracy"] for reach in fact["reaches"]] == [
        {"lowest": 0.99, "median": 0.995, "best": 1.0},
        {"lowest": 0.39, "median": 0.395, "best": 0.4},
    ]
    assert [reach["mean"] for reach in fact["reaches"]] == [pytest.approx(0.995), pytest.approx(0.395)]
    assert (fact["fails_from"], fact["first_error"], fact["failing"], fact["seeds"]) == (100, 8.0, 2, 2)
    assert [reach["saturation"]["median"] for reach in fact["reaches"]] == [0.0, 0.5]
    assert [reach["norm"] for reach in fact["reaches"]] == [{"lowest": 2.0, "median": None, "best": None}] * 2
    assert Scaling().rows([record], "strict") == []


@pytest.mark.parametrize("right", [(0, 0), (1, 0), (100, 0), (100, 99), (100, 100)])
def test_scaling_shows_a_mean_within_its_interval_and_the_number_of_failing_seeds(right: tuple[int, ...]) -> None:
    record = record_with_accuracy(recipe("parity", "srwm").run((0, 1)), 60)
    members = []
    for member, correct in zip(record.members, right, strict=True):
        values = {"strings": 100, "correct": correct, "norm": 2, "chance": 0}
        values |= {"first_error": 20} if correct < 100 else {}
        found = [Measurement("scaling", "strict", 100, name, value) for name, value in values.items()]
        members.append(replace(member, measured=tuple(found)))
    rows = Scaling().rows([replace(record, members=tuple(members))], "strict")
    heading, *texts = (Text.from_markup(str(cell)).plain for cell in Scaling().render(rows).columns[0].cells)
    assert (heading, texts) == ("parity  rule: strict", ["srwm\n2"])
    shown = [Text.from_markup(str(list(column.cells)[1])).plain for column in Scaling().render(rows).columns]
    mean, interval = shown[1].split("\n")
    low, high = map(int, interval.split("-"))
    assert low <= int(mean) <= high
    assert (mean in ("0", "100")) == (sum(right) in (0, 200))
    wrong = sum(correct < 100 for correct in right)
    assert shown[7:9] == (["100", f"21\n{wrong} of 2"] if wrong else ["-", "-"])


def test_a_study_that_measures_does_so_once_after_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fwplab.studies.scaling.LENGTHS", (10, 60))
    monkeypatch.setattr(Scaling, "runs", lambda self, *, quick, seeds=None: [small_run_of("srwm")])
    for _ in range(2):
        assert command(["study", "run", "scaling", "--workers", "1", "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert [reach["length"] for reach in row["reaches"]] == [10, 60]
        monkeypatch.setattr(Scaling, "measure", None)  # a second measurement would fail
