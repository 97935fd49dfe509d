"""Extraction: known automata are learned exactly, and the automata of trained models are found."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fwplab.automata import Moore
from fwplab.cli import run as command
from fwplab.constructions.recurrent_delta_automaton import RecurrentDeltaAutomaton
from fwplab.errors import UserError
from fwplab.extraction.black_box import BlackBox
from fwplab.extraction.extract import METHODS, extract, sample_words
from fwplab.extraction.learn import learn
from fwplab.extraction.mealy import UNDEFINED, Mealy, mealy_of
from fwplab.languages import load_language
from fwplab.storage.archive import shipped_checkpoints
from fwplab.studies.irie2023 import LANGUAGES as PAPER_LANGUAGES


class MachineModel(nn.Module):
    """A model that runs a Mealy machine. Its state is the machine's state, one-hot."""

    def __init__(self, machine: Mealy) -> None:
        super().__init__()
        self.machine = machine

    def forward(self, tokens: Tensor) -> Tensor:
        outputs = torch.from_numpy(self.machine.run(tokens.numpy())).clamp(min=0)
        return one_hot(outputs, max(2, len(self.machine.classes))).float()

    def initial_state(self, batch: int) -> list[tuple[Tensor]]:
        return [(torch.zeros(batch, len(self.machine)).index_fill_(1, torch.tensor([0]), 1.0),)]

    def step(self, tokens: Tensor, state: list[tuple[Tensor]]) -> tuple[Tensor, list[tuple[Tensor]]]:
        moves = one_hot(torch.from_numpy(self.machine.moves), len(self.machine)).float()
        outputs = one_hot(
            torch.from_numpy(self.machine.outputs).clamp(min=0), max(2, len(self.machine.classes))
        ).float()
        row, each = state[0][0], torch.arange(len(tokens))
        after, logits = ((row @ table.flatten(1)).view(len(row), *table.shape[1:]) for table in (moves, outputs))
        return logits[each, tokens], [(after[each, tokens],)]

    def scan(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        before = torch.zeros(len(tokens), 0, dtype=torch.long) if isinstance(state, list) else state
        read = torch.cat([before, tokens], 1)
        return self(read)[:, before.shape[1] :], read


def random_machine(seed: int) -> Mealy:
    """A machine with 2 to 20 states over 2 to 4 symbols, and three labels."""
    generator = np.random.default_rng(seed)
    states, symbols = int(generator.integers(2, 21)), int(generator.integers(2, 5))
    moves, outputs = (generator.integers(0, top, (states, symbols)) for top in (states, 3))
    return Mealy(tuple("abcd"[:symbols]), ("x", "y", "z"), moves, outputs)


def duplicated(machine: Mealy) -> Mealy:
    """An equivalent machine with every state twice. Each move leads to a random one of the two copies."""
    copies = np.random.default_rng(0).integers(0, 2, (2 * len(machine), len(machine.symbols)))
    moves = np.tile(machine.moves, (2, 1)) + copies * len(machine)
    return Mealy(machine.symbols, machine.classes, moves, np.tile(machine.outputs, (2, 1)))


@pytest.mark.parametrize("seed", range(10))
def test_minimal_machines_are_equivalent_and_have_the_fewest_states(seed: int) -> None:
    machine = random_machine(seed)
    small = machine.minimal()
    again = duplicated(machine).minimal()
    assert machine.difference(small) is None
    assert (again.moves.tolist(), again.outputs.tolist()) == (small.moves.tolist(), small.outputs.tolist())
    assert len(small.minimal()) == len(small) <= len(machine)
    assert [len(word) for word in small.access_words()] == sorted(len(word) for word in small.access_words())


@pytest.mark.parametrize("seed", range(10))
def test_a_restricted_machine_has_outputs_only_where_the_other_machine_has(seed: int) -> None:
    machine, generator = random_machine(seed), np.random.default_rng(seed)
    silent = np.where(generator.random(machine.outputs.shape) < 0.5, UNDEFINED, machine.outputs)
    other = Mealy(machine.symbols, machine.classes, np.roll(machine.moves, 1, 0), silent)
    words = generator.integers(0, len(machine.symbols), (200, 12))
    expected = np.where(other.run(words) == UNDEFINED, UNDEFINED, machine.run(words))
    assert (machine.restricted_to(other).run(words) == expected).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_difference_of_two_machines_is_a_shortest_word(seed: int) -> None:
    one, other = random_machine(3), random_machine(seed)
    if one.symbols != other.symbols:
        other = Mealy(one.symbols, one.classes, one.moves, one.outputs.copy())
        other.outputs[seed % len(other), 0] = (other.outputs[seed % len(other), 0] + 1) % 3
    words = (word for n in range(1, 7) for word in product(range(len(one.symbols)), repeat=n))
    mismatches = (w for w in words if one.run(np.array([w]))[0, -1] != other.run(np.array([w]))[0, -1])
    first = next(mismatches, None)
    found = one.difference(other)
    if first is not None:
        assert found == "".join(one.symbols[index] for index in first)
    else:
        assert found is None or len(found) > 6


@pytest.mark.parametrize("method", ["lstar", "kv"])
@pytest.mark.parametrize("seed", range(25))
def test_random_machines_are_learned_back(method: Any, seed: int) -> None:
    true = random_machine(seed).minimal()
    generator = np.random.default_rng(seed)
    box = BlackBox(MachineModel(true), true)  # type: ignore[arg-type]
    examples = generator.integers(0, len(true.symbols), (50, 30))
    found, complete = learn(box, examples, method, 60, generator)
    assert complete
    assert found.difference(true) is None
    assert len(found) == len(true)


@pytest.mark.parametrize("seed", range(50))
def test_automata_built_into_weights_are_learned_back(seed: int) -> None:
    """A random automaton is built into a Recurrent Delta by hand, and is learned from the model's labels."""
    generator = np.random.default_rng(seed)
    states, symbols = int(generator.integers(2, 21)), "abcd"[: int(generator.integers(2, 5))]
    machine = Moore.random(states, symbols, generator)
    true = Mealy.from_moore(machine)
    box = BlackBox(RecurrentDeltaAutomaton(machine).build(), true)
    found, complete = learn(box, generator.integers(0, len(symbols), (50, 30)), "lstar", 60, generator)
    assert complete
    assert found.difference(true) is None
    assert len(found) == len(true.minimal())


@pytest.mark.parametrize(("name", "states"), [("parity", 2), ("aa_star", 2), ("abab_star", 5), ("dyck_1", 10)])
def test_the_automaton_of_a_language_gives_its_labels(name: str, states: int) -> None:
    task, machine = load_language(name), mealy_of(load_language(name), 8)
    assert len(machine) == states  # including the state without outputs
    words = sample_words(task, range(2, 15), 100, np.random.default_rng(0))
    for tokens, outputs in zip(words, machine.run(words), strict=True):
        word = "".join(task.symbols[token] for token in tokens if token < len(task.symbols))
        labels = [machine.name_of(output) for output in outputs[: len(word)]]
        assert labels == task.labels(word)[: labels.index("-")] + ["-"] * labels.count("-") if "-" in labels else True
        assert "-" in labels or labels == task.labels(word)


@pytest.mark.parametrize("name", [*PAPER_LANGUAGES, "tomita_4", "d_3", "symmetric_3"])
@pytest.mark.parametrize("method", METHODS)
def test_extraction_from_a_perfect_model_gives_the_language(name: str, method: Any) -> None:
    task = load_language(name)
    true = mealy_of(task, 30)
    found = extract(MachineModel(true), task, method=method, depth=2, lengths=(10, 20))  # type: ignore[arg-type]
    assert found.kept is None
    if method != "states" or found.complete:  # with many states, clustering may merge some
        assert found.complete
        assert (found.equivalent, found.witness, len(found.machine)) == (True, None, len(found.true))
        assert all(each.with_model == each.with_language == each.words for each in found.fidelity)
    assert all((each.asked == 1) == found.finite for each in found.fidelity if each.length > 10)


def test_the_machine_of_a_stack_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(UserError, match="dyck_2 has more than 20,000 states within 30 moves"):
        mealy_of(load_language("dyck_2"), 30)


def test_a_counter_with_a_maximal_depth_is_detected() -> None:
    short = mealy_of(load_language("dyck_1"), 5)
    silent = Mealy(short.symbols, short.classes, short.moves, np.where(short.outputs == UNDEFINED, 0, short.outputs))
    found = extract(MachineModel(silent), load_language("dyck_1"), depth=8, lengths=(40,))  # type: ignore[arg-type]
    assert not found.equivalent
    assert found.witness == "(" * 6
    assert found.kept == 5


def shipped(cell: str) -> str:
    name, mixer = cell.split("/")
    from fwplab.training.checkpoint import load_checkpoint

    for path in shipped_checkpoints("irie2023"):
        run = load_checkpoint(path).run
        if (run.language, run.mixer_name) == (name, mixer):
            return str(path)
    raise AssertionError(cell)


def test_the_automata_of_trained_models_are_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [str(tmp_path / f"machine{suffix}") for suffix in (".dot", ".svg", ".png", ".json")]
    assert command(["extract", shipped("parity/recurrent-delta"), "--out", *files, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["states"], facts["equivalent"], facts["witness"]) == (2, True, None)
    assert facts["queries"] > 1_000
    assert [each["with_model"] for each in facts["fidelity"]] == [200] * 5
    assert json.loads((tmp_path / "machine.json").read_text()) == facts
    assert (tmp_path / "machine.dot").read_text().count("->") == 5  # the start arrow and two moves for each state
    assert (tmp_path / "machine.svg").read_text().startswith("<?xml")
    assert command(["extract", "aa_star/linear-transformer", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert not facts["equivalent"]
    assert set(facts["witness"]) == {"a"}
    assert command(["extract", "parity/lstm", "--method", "states"]) == 0
    assert "2 states against 2 of the language" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "parity/srwm"),
        (["parity/srwm", "--method", "magic"], "choose from: lstar, kv, states"),
        (["parity/srwm", "--out", "x.gif"], "choose from: .dot, .json, .svg, .pdf, .png"),
        (["parity/srwm", "--depth", "0"], "positive whole numbers"),
        (["parity/srwm", "--seed", "-1"], "not negative"),
        (["parity/srwm", "--lengths", "0"], "lengths are positive"),
        (["x" * 5_000], "give a checkpoint file, the key of a run"),
        (["parity/transformer", "--method", "states"], "choose from: lstar, kv"),
        (["pyproject.toml"], "is no fwplab checkpoint"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["extract", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_learning_a_model_without_a_small_machine_is_incomplete() -> None:
    large = random_machine(3).minimal()
    box = BlackBox(MachineModel(large), large)  # type: ignore[arg-type]
    found, complete = learn(box, np.zeros((1, 1), dtype=np.int64), "lstar", len(large) - 1, np.random.default_rng(0))
    assert not complete
    assert len(found) < len(large)
    found, complete = learn(box, np.zeros((1, 1), dtype=np.int64), "lstar", 1, np.random.default_rng(0))
    assert (complete, len(found)) == (False, 1)
    assert found.outputs[0, 0] == large.outputs[0, 0]


def test_quotes_in_symbols_are_escaped_in_dot() -> None:
    machine = Mealy(('"', "\\"), ("x",), np.array([[0, 0]]), np.array([[0, 0]]))
    assert r'[label="\", \\"]' in machine.to_dot()


def test_an_unknown_method_names_the_choices() -> None:
    with pytest.raises(UserError, match="lstar, kv, states"):
        extract(MachineModel(random_machine(0)), load_language("parity"), method="guess")  # type: ignore[arg-type]
