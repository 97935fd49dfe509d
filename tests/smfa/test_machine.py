"""Self-modifying automata: their runs, their errors, and that the examples recognise their languages."""

from itertools import product

import numpy as np
import pytest

from fwplab.automata import Moore
from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.smfa.drawing import current_moves, describe_change, to_dot
from fwplab.smfa.examples import EXAMPLES
from fwplab.smfa.machine import Change, Move, SelfModifying
from fwplab.smfa.nerode import residuals

LENGTH = {2: 12, 3: 7, 4: 6}
"""For each size of the alphabet: all words up to this length are tested."""
GROWING = {2: (2, 4, 6), 3: (1, 2, 3, 4), 4: (0, 1, 2, 3)}
"""For each size of the alphabet: lengths between which the number of states of a finite automaton grows."""
names = pytest.mark.parametrize("name", EXAMPLES.own_names())


@names
def test_an_example_recognises_its_language_on_all_short_words(name: str) -> None:
    example = EXAMPLES.load(name)()
    machine = example.machine()
    size = len(machine.symbols)
    words = ["".join(word) for n in range(LENGTH[size] + 1) for word in product(machine.symbols, repeat=n)]
    accepted = [word for word in words if machine.accepts(word)]
    assert accepted == [word for word in words if example.contains(word)]
    assert 1 < len(accepted) < len(words)


@names
@pytest.mark.parametrize("size", [10, 100, 3_000])
def test_an_example_recognises_its_language_on_long_words_and_their_edits(name: str, size: int) -> None:
    example, generator = EXAMPLES.load(name)(), np.random.default_rng(size)
    machine = example.machine()
    rejected = 0
    for _ in range(5):
        word = example.draw(size, generator)
        assert abs(len(word) - size) <= 0.5 * size + 4
        assert machine.accepts(word)
        place = int(generator.integers(len(word)))
        for other in (word[:place] + word[place + 1 :], word[:place] + machine.symbols[0] + word[place + 1 :]):
            assert machine.accepts(other) == example.contains(other)
            rejected += not machine.accepts(other)
    assert rejected


@names
def test_no_finite_automaton_recognises_an_example(name: str) -> None:
    example = EXAMPLES.load(name)()
    symbols = example.machine().symbols
    state_counts = [residuals(example.contains, symbols, length) for length in GROWING[len(symbols)]]
    assert state_counts == sorted(set(state_counts))


def test_the_outputs_of_bracket_examples_are_the_labels_of_the_languages() -> None:
    generator = np.random.default_rng(0)
    for name in ("dyck_1", "reset_dyck_1"):
        task, machine = load_language(name), EXAMPLES.load(name)().machine()
        for word in task.sample([20, 50, 200, 1_000], generator):
            assert machine.run(word) == task.labels(word)


def test_w_c_w_creates_one_state_fewer_than_symbols() -> None:
    machine = EXAMPLES.load("w-c-w")().machine()
    made = [state for step in machine.trace("0110100c0110100") for state in step.made]
    assert len(made) == len("0110100") - 1


@pytest.mark.parametrize("seed", range(5))
def test_without_changes_a_machine_is_a_finite_automaton(seed: int) -> None:
    generator = np.random.default_rng(seed)
    moore = Moore.random(6, "ab", generator)
    moves = tuple(
        Move(str(state), symbol, str(row[index]))
        for state, row in enumerate(moore.moves)
        for index, symbol in enumerate("ab")
    )
    states = {str(state): output or "" for state, output in enumerate(moore.outputs)}
    machine = SelfModifying(("a", "b"), states, "0", moves)
    for tokens in generator.integers(0, 2, (20, 50)):
        word = "".join("ab"[token] for token in tokens)
        assert machine.run(word) == moore.run(word)
        assert machine.accepts(word) == (moore.run(word)[-1] == "1")


def test_a_trace_lists_the_states_and_moves_that_a_change_adds_or_removes() -> None:
    machine = EXAMPLES.load("a-n-b-n")().machine()
    first, second, third, last = machine.trace("aabb")
    assert (first.made, first.removed) == (("v.1",), ())
    assert first.added == (Move("many", "b", "end"), Move("v.1", "b", "end"))
    assert second.removed == (Move("many", "b", "end"),)
    assert second.added == (Move("many", "b", "v.1"), Move("v.2", "b", "v.1"))
    assert second.registers == {"v": "v.2"}
    assert (first.moves, second.moves, last.moves) == (4, 5, 5)
    assert (third.state, last.state, last.output, last.change) == ("v.1", "end", "1", None)


def test_a_word_without_a_move_is_rejected_with_all_its_continuations() -> None:
    machine = EXAMPLES.load("a-n-b-n")().machine()
    assert machine.run("aba") == ["0", "1", None]
    assert machine.run("abaab")[2:] == [None, None, None]
    assert not machine.accepts("abaab")
    assert machine.accepts("")


def test_a_second_move_for_a_state_and_symbol_is_an_error() -> None:
    twice = Change({"v": "0"}, (Move("s", "b", "v'"),))
    machine = SelfModifying(("a", "b"), {"s": "0"}, "s", (Move("s", "a", "s", "twice"),), {"v": "s"}, {"twice": twice})
    with pytest.raises(UserError, match=r"the change 'twice' adds a second move from s by 'b'"):
        machine.run("aa")
    with pytest.raises(UserError, match=r"the machine adds a second move from s by 'a'"):
        SelfModifying(("a",), {"s": "0"}, "s", (Move("s", "a", "s"), Move("s", "a", "s")))


A, GROW = Move("s", "a", "s", "grow"), {"grow": Change({"v": "0"})}
WRONG = {
    "unknown start 't'": {"start": "t"},
    "unknown state of a register 't'": {"registers": {"v": "t"}},
    "unknown place 't'": {"moves": (Move("s", "a", "t"),)},
    'unknown place "v\'"': {"moves": (Move("s", "a", "v'"),)},
    "unknown symbol 'c'": {"moves": (Move("s", "c", "s"),)},
    "unknown change 'cut'": {"moves": (Move("s", "a", "s", "cut"),)},
    "unknown register 'u'": {"changes": {"grow": Change({"u": "0"})}},
    'unknown place "u\'"': {"changes": {"grow": Change({"v": "0"}, (Move("u'", "a", "v"),))}},
    "unknown place 'x'": {"changes": {"grow": Change(remove=(("x", "a"),))}},
    "'s' is a state and a register": {"registers": {"s": "s"}},
    "names no state and no register": {"states": {"s": "0", "v.1": "0"}},
}


@pytest.mark.parametrize("message", WRONG)
def test_an_inconsistent_description_is_an_error(message: str) -> None:
    right = {
        "symbols": ("a", "b"),
        "states": {"s": "0"},
        "start": "s",
        "moves": (A,),
        "registers": {"v": "s"},
        "changes": GROW,
    }
    assert SelfModifying(**right).run("aa") == ["0", "0"]  # type: ignore[arg-type]
    with pytest.raises(UserError) as error:
        SelfModifying(**(right | WRONG[message]))  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_symbol_outside_the_alphabet_is_an_error() -> None:
    with pytest.raises(UserError, match=r"symbol 'x' is outside the alphabet, choose from: a b"):
        EXAMPLES.load("a-n-b-n")().machine().accepts("ax")


def test_a_configuration_is_drawn_with_all_its_moves() -> None:
    machine = EXAMPLES.load("w-c-w")().machine()
    configuration = machine.begin()
    for symbol in "01c":
        configuration.step(symbol)
    dot = to_dot(configuration)
    labelled = [line for line in dot.splitlines() if "->" in line and "label" in line]
    assert len(labelled) == len(current_moves(configuration)) == 11
    assert '"v.1" [shape=circle, style="dashed"' in dot
    assert '"copy" [shape=circle, style="filled"' in dot
    assert '"end" [shape=doublecircle' in dot
    assert describe_change(machine.changes["write0"]) == ["fresh v, output 0", "add v -0-> v'"]
