"""Moore machines."""

import numpy as np
import pytest

from fwplab.automata import Moore
from fwplab.errors import UserError


@pytest.mark.parametrize("seed", range(20))
def test_all_states_of_a_random_machine_are_reachable(seed: int) -> None:
    generator = np.random.default_rng(seed)
    states = int(generator.integers(1, 21))
    machine = Moore.random(states, "abcd"[: 1 + seed % 4], generator)
    reached, waiting = {0}, [0]
    while waiting:
        new = set(machine.moves[waiting.pop()]) - reached
        reached |= new
        waiting += new
    assert reached == set(range(states))
    assert len(machine.classes) == min(states, 2)


def test_random_machines_depend_on_the_generator() -> None:
    assert len({Moore.random(5, "01", np.random.default_rng(seed)) for seed in range(10)}) == 10
    assert Moore.random(5, "01", np.random.default_rng(3)) == Moore.random(5, "01", np.random.default_rng(3))


def test_a_machine_gives_the_outputs_of_its_states() -> None:
    machine = Moore(("a", "b"), ("even", None), ((1, 0), (0, 1)))
    assert machine.run("abba") == [None, None, None, "even"]
    assert machine.classes == ("even",)


@pytest.mark.parametrize("moves", [((0, 1),), ((0, 2), (0, 0)), ((0,), (1,))])
def test_invalid_transition_tables_are_refused(moves: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(UserError, match="needs as many rows"):
        Moore(("a", "b"), ("0", "1"), moves)


def test_a_symbol_outside_the_alphabet_is_refused() -> None:
    with pytest.raises(UserError, match="outside the alphabet, choose from: a"):
        Moore(("a",), ("0",), ((0,),)).run("ab")
