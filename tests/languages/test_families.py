"""Families of languages, their options, and what the algebra says about the regular languages of the catalogue."""

import runpy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from automata.fa.dfa import DFA
from automata.fa.nfa import NFA

from fwplab.data.tasks import non_words
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, Regular, load_language
from fwplab.languages._expression import minimal
from fwplab.mixers import MIXERS
from fwplab.plugins.check_language import check
from fwplab.training.run import Run, from_dict, to_dict

MEMBERS = (
    "symmetric_3:generators=swaps,tokens=2",
    "symmetric_4:generators=3-cycles",
    "alternating_5:generators=3-cycles",
    "cyclic_2",
    "cyclic_7:tokens=3",
    "dihedral_3:tokens=4",
    "z2_z4:tokens=2",
    "bounded_dyck_2:kinds=3",
    "bounded_dyck_4:kinds=1",
    "d_1",
    "d_20",
    "cycle_navigation_2",
    "modular_arithmetic_3",
)
REGULAR = [name for name in LANGUAGES.own_names() if issubclass(LANGUAGES.load(name), Regular)]
MOST_ELEMENTS = 60_000


@pytest.mark.parametrize("name", MEMBERS)
def test_members_outside_the_catalogue_keep_the_promises_of_a_language(name: str) -> None:
    language = load_language(name)
    assert language.name == name
    assert LANGUAGES.name_of(type(language)) == LANGUAGES.known(name) == name
    assert name in LANGUAGES
    check(language)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("symmetric_6", "from 2 to 5"),
        ("symmetric_n", "is a family of languages; choose for example from: symmetric_3"),
        ("d_0", "from 1 to 100"),
        ("d_1000", "from 1 to 100"),
        ("cyclic_1", "from 2 to"),
        ("bounded_dyck_12", "up to 2,000 states"),
        ("symmetric_5:generator=swaps", "no option 'generator'; choose from: generators, tokens"),
        ("symmetric_5:generators=all of them", "choose from: all, swaps, 3-cycles"),
        ("alternating_5:generators=swaps", "do not generate the group"),
        ("parity:tokens=2", "no option 'tokens'; choose from: none"),
        ("parity_7", "unknown language 'parity_7'"),
        ("nothing_7", "unknown language 'nothing_7'"),
        ("nothing:tokens=2", "unknown language 'nothing'"),
    ],
)
def test_a_wrong_member_or_option_names_the_choices(name: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_language(name)
    assert name not in LANGUAGES


def test_a_name_with_options_has_one_form() -> None:
    mixer, plain = MIXERS.load("lstm")(), load_language("symmetric_5")
    assert load_language("Symmetric-5:generators=all").name == load_language("symmetric_5:tokens=1").name == plain.name
    assert type(load_language("symmetric_5:tokens=1")) is type(plain)
    run = Run("Symmetric_5:tokens=2,generators=swaps", mixer)
    assert run.language == "symmetric_5:generators=swaps,tokens=2"
    assert from_dict(Run, to_dict(run)).key == run.key


@pytest.mark.parametrize("name", REGULAR)
def test_no_two_states_are_alike(name: str) -> None:
    """Some string leads them to other labels, or one of them to a word. So the automaton is the smallest."""
    language: Any = load_language(name)
    block: list[Any] = [(language.label(s), s in language.accepting) for s in range(len(language.moves))]
    for _ in range(len(language.moves)):
        future = [
            (own, *(None if to is None else block[to] for to in row))
            for own, row in zip(block, language.moves, strict=True)
        ]
        names = {each: number for number, each in enumerate(dict.fromkeys(future))}
        if len(names) == len(set(block)):
            break
        block = [names[each] for each in future]
    assert len(set(block)) == len(language.moves)
    assert all(language.following(state) for state in range(len(language.moves)))


@pytest.mark.parametrize("name", REGULAR)
def test_the_hierarchy_says_star_free_exactly_where_the_monoid_is_aperiodic(name: str) -> None:
    """Schuetzenberger (1965): star-free if and only if no element of the syntactic monoid generates a group."""
    language: Any = load_language(name)
    expected = {"regular (star-free)": True, "regular (not star-free)": False}[language.hierarchy]
    assert aperiodic(minimal(language.moves, language.accepting).moves) == expected


def aperiodic(moves: Any) -> bool:
    """Whether x^m = x^(m+1) for some m, for every element x of the transition monoid; stops at one that has none."""
    dead = len(moves)
    table = [[dead if to is None else to for to in row] for row in moves] + [[dead] * len(moves[0])]
    letters = [tuple(row[symbol] for row in table) for symbol in range(len(moves[0]))]
    found, waiting = set(letters), list(letters)
    for element in waiting:
        power, seen = element, [element]
        while (power := tuple(element[to] for to in power)) not in seen:
            seen.append(power)
        if power != seen[-1]:
            return False
        for letter in letters:
            longer = tuple(letter[to] for to in element)
            if longer not in found:
                found.add(longer)
                waiting.append(longer)
        assert len(found) < MOST_ELEMENTS
    return True


def test_aperiodic_against_brute_force() -> None:
    """On random automata of three states, beside all powers of all products of up to eight letters."""
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        table = generator.integers(3, size=(3, 2)).tolist()
        letters = [tuple(row[symbol] for row in table) for symbol in range(2)]
        products = {
            tuple(_run(letters, word, state) for state in range(3))
            for length in range(1, 9)
            for word in product(range(2), repeat=length)
        }
        powers_rest = all(_power(each, 6) == _power(each, 7) for each in products)
        assert aperiodic([tuple(row) for row in table]) == powers_rest
        seen.add(powers_rest)
    assert seen == {True, False}


def _run(letters: list[tuple[int, ...]], word: tuple[int, ...], state: int) -> int:
    for symbol in word:
        state = letters[symbol][state]
    return state


def _power(element: tuple[int, ...], exponent: int) -> tuple[int, ...]:
    result = tuple(range(len(element)))
    for _ in range(exponent):
        result = tuple(element[to] for to in result)
    return result


@pytest.mark.parametrize("name", [name for name in REGULAR if hasattr(LANGUAGES.load(name), "expression")])
def test_the_library_makes_an_equal_automaton_of_every_expression(name: str) -> None:
    language: Any = load_language(name)
    expression = language.expression.replace("(|", "(()|")
    theirs = DFA.from_nfa(NFA.from_regex(expression, input_symbols=set(language.symbols)))
    for length in range(13 if len(language.symbols) < 3 else 7):
        for letters in product(language.symbols, repeat=length):
            assert theirs.accepts_input("".join(letters)) == language.contains("".join(letters))


@pytest.mark.parametrize("name", LANGUAGES.own_names())
def test_states_and_rule_agree_on_words_and_near_them_up_to_length_12(name: str) -> None:
    """Where the strings of length 12 are too many to read all: random ones, words, and strings one edit away."""
    language, generator = load_language(name), np.random.default_rng(5)
    words = language.sample(np.resize(language.lengths(1, 12), 150).tolist(), generator)
    near = non_words(language, [len(word) for word in words], generator)
    free = ["".join(generator.choice(language.symbols, size)) for size in generator.integers(0, 13, 150)]
    for string in (*words, *near, *free):
        assert language.contains(string) == language.word_rule(string), string
        expected = [language.label_rule(string[:end]) for end in range(1, len(string) + 1)]
        if None not in expected:
            assert language.labels(string) == expected, string


@pytest.mark.parametrize("name", LANGUAGES.own_names())
def test_negatives_are_outside(name: str) -> None:
    language = load_language(name)
    strings = non_words(language, [20] * 40, np.random.default_rng(3))
    assert not any(language.contains(string) for string in strings)
    assert not any(language.word_rule(string) for string in strings)


def test_the_table_in_the_documentation_is_that_of_the_catalogue() -> None:
    docs = Path(__file__).parents[2] / "docs"
    assert runpy.run_path(str(docs / "languages_table.py"))["table"]() in (docs / "languages.md").read_text("utf-8")


def test_swaps_and_3_cycles_are_the_permutations_that_move_few_places() -> None:
    """S_5 has 10 swaps and 20 cycles of three places."""
    sizes = {option: len(load_language(f"symmetric_5:generators={option}").symbols) for option in ("swaps", "3-cycles")}
    assert sizes == {"swaps": 11, "3-cycles": 31}


@pytest.mark.parametrize(
    ("name", "size"), [("symmetric_4", 24), ("dihedral_4", 8), ("z2_z4", 8), ("alternating_5", 60)]
)
def test_the_elements_form_the_group(name: str, size: int) -> None:
    elements = load_language(name).elements  # type: ignore[attr-defined]
    assert len(set(elements)) == size
    assert {tuple(b[place] for place in a) for a in elements for b in elements} == set(elements)
    commutes = all(tuple(b[p] for p in a) == tuple(a[p] for p in b) for a in elements for b in elements)
    assert commutes == (name == "z2_z4")
