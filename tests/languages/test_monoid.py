"""The classes that the syntactic monoid decides, beside definitions that need no monoid."""

import json
from itertools import product
from typing import Any

import numpy as np
import pytest
from automata.fa.dfa import DFA
from automata.fa.nfa import NFA

from fwplab.automata import Moore
from fwplab.cli import run
from fwplab.errors import UserError
from fwplab.languages import Language, Regular, load_language
from fwplab.languages._expression import minimal
from fwplab.languages._monoid import Monoid, classes


def holds(language: Any) -> set[str]:
    return {each.name for each in classes(Monoid(language)) if each.holds}


def random_language(seed: int, states: int = 4) -> Any:
    table = Moore.random(states, "ab", np.random.default_rng(seed))
    accepting = frozenset(state for state, output in enumerate(table.outputs) if output == "1")
    found = {
        "symbols": ("a", "b"),
        "hierarchy": "regular",
        "moves": table.moves,
        "accepting": accepting,
        "name": "mine",
    }
    return type("Mine", (Regular,), found)()


def complete(language: Any) -> tuple[list[tuple[int, ...]], frozenset[int]]:
    """The smallest complete automaton."""
    moves, accepting = minimal(language.moves, language.accepting)
    dead = len(moves)
    rows = [tuple(dead if to is None else to for to in row) for row in moves]
    return ([*rows, (dead,) * len(language.symbols)] if any(dead in row for row in rows) else rows), accepting


def reversed_language(language: Any) -> Any:
    """The language of the words read backwards, by the library."""
    moves, accepting = complete(language)
    dfa = DFA(
        states=set(range(len(moves))),
        input_symbols=set(language.symbols),
        transitions={state: dict(zip(language.symbols, row, strict=True)) for state, row in enumerate(moves)},
        initial_state=0,
        final_states=set(accepting),
    )
    back = DFA.from_nfa(NFA.from_dfa(dfa).reverse()).to_complete()
    place = {state: number for number, state in enumerate([back.initial_state, *(back.states - {back.initial_state})])}
    rows = [[0] * len(language.symbols) for _ in place]
    for state, row in back.transitions.items():
        for column, symbol in enumerate(language.symbols):
            rows[place[state]][column] = place[row[symbol]]
    found = {
        "symbols": language.symbols,
        "hierarchy": "regular",
        "moves": tuple(map(tuple, rows)),
        "accepting": frozenset(place[state] for state in back.final_states),
        "name": "mine",
    }
    return type("Mine", (Regular,), found)()


def has_cycle(language: Any) -> bool:
    """Whether the smallest automaton has a cycle of several states."""
    moves, _ = complete(language)
    reach = np.eye(len(moves), dtype=bool)
    for _ in moves:
        for state, row in enumerate(moves):
            for to in row:
                reach[state] |= reach[to]
    return bool((reach & reach.T & ~np.eye(len(moves), dtype=bool)).any())


SEEDS = range(120)


def test_r_and_l_trivial_and_piecewise_testable_by_cycles_of_automata() -> None:
    """R-trivial: the automaton has only loops (Brzozowski and Fich 1980). L-trivial: that of the reverse has."""
    seen = set()
    for seed in SEEDS:
        language = random_language(seed, 3)
        forward, backward = not has_cycle(language), not has_cycle(reversed_language(language))
        found = holds(language)
        assert ("R-trivial" in found) == forward
        assert ("L-trivial" in found) == backward
        assert ("piecewise testable" in found) == (forward and backward)
        seen.add((forward, backward))
    assert len(seen) == 4


def test_definite_by_words() -> None:
    """Of n states: all words of n - 1 symbols lead from all states to one (Perles, Rabin and Shamir 1963)."""
    seen = set()
    for seed in SEEDS:
        language = random_language(seed, 3)
        moves, _ = complete(language)
        words = list(product(range(2), repeat=len(moves) - 1))
        definite = all(len({_end(moves, word, state) for state in range(len(moves))}) == 1 for word in words)
        assert ("definite" in holds(language)) == definite
        assert ("reverse definite" in holds(reversed_language(language))) == definite
        seen.add(definite)
    assert seen == {True, False}


def _end(moves: Any, word: tuple[int, ...], state: int) -> int:
    for symbol in word:
        state = moves[state][symbol]
    return state


def test_star_free_commutative_and_finite_by_words() -> None:
    seen = set()
    for seed in SEEDS:
        language = random_language(seed, 3)
        found = holds(language)
        moves, accepting = complete(language)
        size = len(moves)
        words = ["".join(letters) for length in range(8) for letters in product("ab", repeat=length)]
        counts: dict[tuple[int, int], set[bool]] = {}
        for word in words:
            counts.setdefault((word.count("a"), word.count("b")), set()).add(language.contains(word))
        assert ("commutative" in found) == all(len(each) == 1 for each in counts.values())
        maps = {
            tuple(_end(moves, tuple("ab".index(s) for s in word), state) for state in range(size)) for word in words
        }
        assert ("star-free" in found) == all(_power(one, size) == _power(one, size + 1) for one in maps)
        lengths = range(size, 2 * size + 1)
        long = {language.contains("".join(word)) for length in lengths for word in product("ab", repeat=length)}
        assert ("finite or cofinite" in found) == (len(long) == 1)
        assert ("group language" in found) == all(len({row[symbol] for row in moves}) == size for symbol in range(2))
        seen.add(frozenset(found))
    assert len(seen) > 6


def _power(element: tuple[int, ...], exponent: int) -> tuple[int, ...]:
    result = tuple(range(len(element)))
    for _ in range(exponent):
        result = tuple(element[to] for to in result)
    return result


def test_two_variable_logic_by_its_identity() -> None:
    """DA: (x y z)^w y (x y z)^w = (x y z)^w, with ^w the idempotent power (Tesson and Therien 2002)."""
    seen = set()
    for seed in SEEDS:
        monoid = Monoid(random_language(seed, 3))
        if len(monoid.elements) > 12:
            continue
        powers = {x: next(p for n in range(1, 30) if (p := _power(x, n)) == _power(p, 2)) for x in monoid.elements}
        identity_holds = True
        for x, y, z in product(monoid.elements, repeat=3):
            power = powers[tuple(z[y[to]] for to in x)]
            identity_holds &= tuple(power[y[to]] for to in power) == power
        assert monoid.in_da == identity_holds
        seen.add(identity_holds)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("symmetric_3", True),
        ("symmetric_4", True),
        ("symmetric_5", False),
        ("alternating_5", False),
        ("symmetric_5:generators=swaps,tokens=2", False),
        ("dihedral_5", True),
        ("z2_z4", True),
        ("tomita_3", True),
        ("d_4", True),
    ],
)
def test_s5_and_a5_alone_are_not_solvable(name: str, expected: bool) -> None:
    assert ("solvable" in holds(load_language(name))) == expected


@pytest.mark.parametrize(
    ("name", "elements", "expected"),
    [
        ("ab_star", 6, {"star-free", "solvable"}),
        ("parity", 2, {"commutative", "group language", "solvable"}),
        ("regex:[ab]*ab", 5, {"definite", "L-trivial", "two-variable logic", "star-free", "solvable"}),
        ("first_symbol", 3, {"reverse definite", "R-trivial", "two-variable logic", "star-free", "solvable"}),
    ],
)
def test_known_languages(name: str, elements: int, expected: set[str]) -> None:
    language: Language = load_language(name)
    assert isinstance(language, Regular)
    assert len(Monoid(language).elements) == elements
    assert holds(language) == expected


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["languages", "classify", "regex:[ab]*ab", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["states"], facts["elements"]) == (3, 5)
    assert {each["name"] for each in facts["classes"] if each["holds"]} >= {"definite", "star-free"}
    assert run(["languages", "classify", "parity"]) == 0
    assert "a syntactic monoid of 2 elements" in capsys.readouterr().out
    assert run(["languages", "classify", "dyck_1"]) == 2
    assert "dyck_1 is not regular; choose from: aa_star" in capsys.readouterr().err


def test_a_huge_monoid_is_one_line() -> None:
    with pytest.raises(UserError, match="more than 20,000 elements"):
        Monoid(load_language("random-dfa:states=30,seed=1"))  # type: ignore[arg-type]
