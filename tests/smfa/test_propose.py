"""Chain machines: they are self-modifying automata, are fitted to labels, and are extracted from trained models."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwplab.cli import run as command
from fwplab.cli.checkpoints import find_checkpoint
from fwplab.constructions import CONSTRUCTIONS
from fwplab.errors import UserError
from fwplab.languages import Language, load_language
from fwplab.smfa.answers import answers_of, answers_of_chain, prefixes, programs_of
from fwplab.smfa.chain import Chain
from fwplab.smfa.fit import Answers, fit
from fwplab.smfa.propose import difference, propose
from fwplab.smfa.weights import read_off

COUNTS = {"dyck_1": 2, "reset_dyck_1": 2, "counter_2": 4}
"""Languages with one counter, and the number of rows of their smallest machines."""
FINITE = {"parity": 2, "aa_star": 2, "abab_star": 3}
"""Regular languages, and the number of rows of their smallest machines. (abab)* needs three on prefixes of words."""


def random_chain(seed: int) -> Chain:
    """A machine with one to three control states on a chain, over two symbols."""
    generator = np.random.default_rng(seed)
    return Chain.random(int(generator.integers(1, 4)), "ab", generator)


def language_answers(task: Language, longest: int) -> Answers:
    """The labels of the language, in the form of a model's labels."""
    tree = prefixes(task, longest, 2_000)
    words = [""]
    for parent, last in zip(tree.parents[1:], tree.last[1:], strict=True):
        words.append(words[parent] + tree.symbols[last])
    labels = [-1, *(task.classes.index(task.labels(word)[-1]) for word in words[1:])]
    return Answers(tree.symbols, tree.classes, tree.parents, tree.last, labels)


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_machine_is_a_self_modifying_automaton(seed: int) -> None:
    chain = random_chain(seed)
    machine = chain.to_smfa()
    assert len(machine.changes) == chain.counts
    for word in product("ab", repeat=9):
        assert machine.run(word) == chain.run(word)
    long = np.random.default_rng(seed).integers(0, 2, 2_000)
    word = "".join("ab"[token] for token in long)
    assert machine.run(word) == chain.run(word)


def test_some_random_chain_machines_count_and_some_do_not() -> None:
    words = [[random_chain(seed).trajectory(word) for word in ("a" * 50, "b" * 50, "ab" * 25)] for seed in range(20)]
    depths = [max((depth for path in paths for _, depth in filter(None, path)), default=0) for paths in words]
    assert min(depths) == 0
    assert max(depths) > 5


def test_a_pop_at_depth_zero_is_an_error() -> None:
    with pytest.raises(UserError, match="control 0 cannot pop at 'a'; choose from: keep, push"):
        Chain(("a",), {(0, False): "x"}, {((0, False), "a"): (0, "pop")})


@pytest.mark.parametrize("name", [*COUNTS, *FINITE])
def test_the_smallest_machine_of_a_language_is_fitted_to_its_labels(name: str) -> None:
    task = load_language(name)
    found = fit(language_answers(task, 12))
    assert found.chain is not None
    assert found.rows == (COUNTS | FINITE)[name]
    assert found.chain.counts == (name in COUNTS)
    assert difference(task, found.chain) is None
    for word in task.sample([n for n in (100, 1_000, 1_001) if task.count(n)], np.random.default_rng(0)):
        assert found.chain.run(word) == found.chain.to_smfa().run(word) == task.labels(word)


@pytest.mark.parametrize("seed", range(10, 20))
def test_a_fitted_machine_gives_all_labels_and_has_at_most_the_rows_of_the_true_one(seed: int) -> None:
    chain = random_chain(seed)
    answers = answers_of_chain(chain, 8)
    found = fit(answers)
    assert found.chain is not None
    assert found.rows <= 2 * chain.controls
    words = ["".join(word) for size in range(1, 9) for word in product("ab", repeat=size)]
    taken = [word for word in words if None not in chain.run(word)]
    assert len(taken) == len(answers)
    assert all(found.chain.run(word) == chain.run(word) for word in taken)


def test_the_search_ends_without_a_result_if_there_is_no_small_machine() -> None:
    answers = language_answers(load_language("shuffle_2"), 6)
    ruled_out = fit(answers, most_rows=4)
    assert (ruled_out.chain, ruled_out.rows, ruled_out.exhausted) == (None, 4, True)
    given_up = fit(answers, most_steps=1_000)
    assert (given_up.chain, given_up.exhausted, given_up.steps) == (None, False, 1_000)


def test_the_difference_from_a_language_is_a_shortest_word() -> None:
    brackets = Chain(
        ("(", ")"),
        {(0, False): "0", (0, True): "1"},
        {((0, False), "("): (0, "push"), ((0, True), "("): (0, "keep"), ((0, True), ")"): (0, "pop")},
    )
    assert difference(load_language("dyck_1"), brackets) == "(()"


def test_answers_of_a_model_are_its_labels() -> None:
    checkpoint = find_checkpoint("parity/lstm", "paper")
    answers = answers_of(checkpoint.model(), load_language("parity"), 6, 1_000)
    assert answers == language_answers(load_language("parity"), 6)
    assert len(answers) == 2**7 - 2


def test_programs_are_the_clusters_of_the_state() -> None:
    checkpoint = find_checkpoint("parity/lstm", "paper")
    answers, programs, faithful = programs_of(
        checkpoint.model(), load_language("parity"), 8, 1_000, np.random.default_rng(0)
    )
    assert (programs, faithful) == (2, True)
    assert answers == language_answers(load_language("parity"), 8)


def test_the_machine_of_a_trained_srwm_is_found() -> None:
    found = propose(find_checkpoint("parity/srwm", "paper").model(), load_language("parity"), lengths=(20, 60))
    assert found.fit.chain is not None
    assert (found.fit.chain.controls, found.fit.chain.counts, found.witness) == (2, False, None)
    assert [each.with_model for each in found.agreement] == [each.words for each in found.agreement]
    assert found.reading is not None
    assert found.reading.control is not None
    assert found.reading.control > 0.95 > found.reading.majority  # type: ignore[operator]


def test_no_probe_reads_a_state_that_grows() -> None:
    model, task = find_checkpoint("parity/transformer", "paper").model(), load_language("parity")
    found = propose(model, task, longest=2, lengths=(4,))
    assert found.fit.chain is not None
    assert found.reading is None
    with pytest.raises(UserError, match="grows with the word"):
        propose(model, task, source="weights", longest=4)


def test_the_counter_of_a_construction_is_found_and_probes_read_its_depth() -> None:
    construction: Any = CONSTRUCTIONS.load("linear-transformer-dyck-1")()
    found = propose(construction.build(), construction.task, longest=12, lengths=(20, 100))
    assert found.fit.chain is not None
    assert (found.fit.chain.controls, found.fit.chain.counts, found.witness) == (1, True, None)
    assert all(each.with_model == each.words for each in found.agreement)
    assert found.reading is not None
    assert found.reading.depth is not None
    assert found.reading.depth > 0.99
    assert found.reading.control is None
    for changed in found.reading.changed.values():  # in a sum, a move adds the same vector at every position
        assert changed.share > 0
        assert changed.depth is not None
        assert abs(changed.depth[0]) == pytest.approx(1, abs=0.05)
        assert changed.written is not None
        assert changed.written.read == changed.written.written == changed.written.positions
        assert changed.written.neither < changed.written.positions


@pytest.mark.parametrize("mixer", ["srwm", "delta-net", "lstm"])
def test_the_moves_of_a_machine_found_in_the_weights_can_be_written_into_the_state(mixer: str) -> None:
    model, task = find_checkpoint(f"dyck_1/{mixer}", "paper").model(), load_language("dyck_1")
    found = propose(model, task, source="weights", longest=8, lengths=(20,))
    assert found.faithful
    assert found.fit.chain is not None
    assert (found.fit.chain.controls, found.fit.chain.counts, found.witness) == (1, True, None)
    assert found.reading is not None
    effects = {"push": 1, "pop": -1}
    for move, changed in found.reading.changed.items():
        assert changed.depth is not None
        assert changed.depth[0] == pytest.approx(effects[found.fit.chain.moves[move][1]], abs=0.1)
        assert changed.written is not None
        assert changed.written.read > 0.95 * changed.written.positions
        assert changed.written.written > changed.written.neither + 0.1 * changed.written.positions


def test_positions_without_an_output_of_the_machine_are_left_out() -> None:
    moves: Any = {((0, above), "("): (0, "push") for above in (False, True)} | {((0, True), ")"): (1, "pop")}
    moves |= {((1, above), symbol): (0, "keep") for above in (False, True) for symbol in "()"}
    chain = Chain(("(", ")"), {(0, False): "0", (0, True): "1", (1, False): "0"}, moves)
    model, task = find_checkpoint("dyck_1/lstm", "paper").model(), load_language("dyck_1")
    reading = read_off(model, task, chain, ["(())", "()", "((()))", "(()())"], np.random.default_rng(0))
    assert reading is not None
    assert (reading.depth, reading.control) == (None, None)  # four words have too few prefixes for a probe
    changed = reading.changed[(0, False), "("]  # all four words have this move at their first symbol only
    assert changed.written is None
    assert reading.changed[(0, True), "("].written is not None


def test_wrong_settings_are_errors() -> None:
    model, task = find_checkpoint("parity/lstm", "paper").model(), load_language("parity")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"source": "guesses"}, "unknown source 'guesses'; choose from: answers, weights"),
        ({"longest": 0}, "positive whole numbers"),
        ({"lengths": (0,)}, "lengths are positive"),
    ]
    for setting, message in wrong:
        with pytest.raises(UserError, match=message):
            propose(model, task, **setting)


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert command(["smfa", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_lists_shows_and_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert len(run_json(capsys)) == 7
    shown = run_json(capsys, "show", "a_n_b_n")
    assert shown["registers"] == {"v": "end"}
    assert shown["finite_states"] == sorted(set(shown["finite_states"]))
    dot = tmp_path / "machine.dot"
    facts = run_json(capsys, "run", "a-n-b-n", "aaabbb", "--out", str(dot))
    assert facts["accepted"]
    assert [step["output"] for step in facts["steps"]] == list("000001")
    assert '"v.3"' in dot.read_text("utf-8")
    assert command(["smfa", "run", "w-c-w", "01c01"]) == 0
    assert capsys.readouterr().out.endswith("accepted\n")
    assert command(["smfa", "show", "dyck-1"]) == 0
    assert "change grow: fresh v, output 1" in capsys.readouterr().out


def test_the_command_extracts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "facts.json"
    words = ("counter_2/lstm", "--lengths", "20", "30", "--longest", "10")
    facts = run_json(capsys, "extract", *words, "--out", str(out), str(tmp_path / "machine.dot"))
    assert json.loads(out.read_text("utf-8")) == facts
    assert facts["found"]
    assert facts["witness"] is None
    assert {row["effect"] for row in facts["table"]} == {"keep", "push", "pop"}
    assert facts["machine"]["registers"] == {"r0": "q0+", "r1": "q1+"}
    assert "grow" in (tmp_path / "machine.dot").read_text("utf-8")
    assert command(["smfa", "extract", "shuffle_2/lstm", "--rows", "2", "--longest", "4"]) == 0
    assert "no chain machine of up to 2 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["show", "palindromes"], "unknown self-modifying automaton 'palindromes'"),
        (["run", "a-n-b-n", "abx"], "symbol 'x' is outside the alphabet"),
        (["run", "a-n-b-n", "ab", "--out", "machine.gif"], "choose from: .dot, .json"),
        (["extract", "nothing/here"], "give a checkpoint file, the key of a run"),
        (["extract", "delta-product-s3"], "choose a construction of a language"),
        (["extract", "parity/lstm", "--source", "guesses"], "choose from: answers, weights"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["smfa", *words]) == 2
    printed = capsys.readouterr().err
    assert answer in printed
    assert printed.count("\n") == 1
