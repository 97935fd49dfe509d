"""Languages from a regular expression or a table: the same words as Python's `re`, exact counts, uniform samples."""

import re
from collections import Counter
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwplab.automata import Moore
from fwplab.errors import UserError
from fwplab.languages import END, Language
from fwplab.languages._expression import automaton, minimal
from fwplab.languages._regular import Regular, _paths
from fwplab.plugins.check_language import check


class NoThreeZeros(Regular):
    """Tomita's fourth language, from its transition table."""

    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    moves = ((1, 0), (2, 0), (None, 0))
    accepting = frozenset((0, 1, 2))

    def word_rule(self, string: str) -> bool:
        return "000" not in string


def language_of(expression: str, symbols: str) -> Regular:
    found: dict[str, Any] = {
        "symbols": tuple(symbols),
        "hierarchy": "regular",
        "expression": expression,
        "name": "mine",
    }
    return type("Mine", (Regular,), found)()


def strings(symbols: str, longest: int) -> list[str]:
    return ["".join(letters) for length in range(longest + 1) for letters in product(symbols, repeat=length)]


expressions = st.recursive(
    st.sampled_from(("a", "b", "")),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("({0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from("*+?")).map("({0[0]}){0[1]}".format),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_an_expression_matches_the_same_strings_as_python_s_re(expression):
    language = language_of(expression, "ab")
    found = [string for string in strings("ab", 6) if language.contains(string)]
    assert found == [string for string in strings("ab", 6) if re.fullmatch(expression, string)]
    assert [language.count(length) for length in range(7)] == [sum(len(s) == n for s in found) for n in range(7)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_minimal_automaton_has_the_same_words_and_no_equivalent_states(seed):
    table = Moore.random(6, "ab", np.random.default_rng(seed))
    accepting = frozenset(state for state, output in enumerate(table.outputs) if output == "1")
    minimised = minimal(table.moves, accepting)

    def accepts(state: int | None, string: str) -> bool:
        for symbol in string:
            state = None if state is None else minimised.moves[state]["ab".index(symbol)]
        return state in minimised.accepting

    for string in strings("ab", 7)[1:]:
        assert accepts(0, string) == (table.run(string)[-1] == "1")
    futures = [tuple(accepts(state, string) for string in strings("ab", 6)) for state in range(len(minimised.moves))]
    assert len(set(futures)) == len(futures)
    assert len(futures) == 1 or all(any(future) for future in futures)


def test_escaped_metacharacters_can_be_symbols():
    language = language_of(r"(\(\))*", "()")
    assert [string for string in strings("()", 4) if language.contains(string)] == ["", "()", "()()"]
    assert language.word_rule("()()")


@pytest.mark.parametrize(
    ("expression", "place"), [("(ab", 4), ("ab)", 3), ("a**", 3), ("*a", 1), ("ac", 2), ("a[b]", 2), ("a\\", 3)]
)
def test_an_invalid_expression_is_an_error_with_its_position(expression, place):
    with pytest.raises(UserError, match=rf"cannot be read at character {place}; choose from: a b and \( \)"):
        automaton(expression, "ab")


def test_a_table_may_have_states_without_a_word():
    class Trapped(NoThreeZeros):
        moves = ((1, 0), (2, 0), (3, 0), (3, 3))

    assert Trapped().next_symbols("00") == {"1", END}
    assert Trapped().next_symbols("000") == frozenset()
    assert Trapped().count(20) == NoThreeZeros().count(20)


@pytest.mark.parametrize(
    "language", [NoThreeZeros(), language_of("(|0|00)(1(|0|00))*", "01")], ids=["table", "expression"]
)
def test_regular_languages_pass_the_checks_of_a_language(language: Language, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Language, "name", "mine")
    check(language)


def test_words_are_drawn_uniformly():
    """Chi-square test with a fixed seed. The bound is the mean plus five standard deviations of the statistic."""
    language, length = NoThreeZeros(), 7
    words = [string for string in strings("01", length) if len(string) == length and "000" not in string]
    number = 500 * len(words)
    found = Counter(map(tuple, language.draw(length, number, np.random.default_rng(0)).tolist()))
    assert len(found) == len(words)
    statistic = sum((times - 500) ** 2 / 500 for times in found.values())
    freedom = len(words) - 1
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("length", [40, 1_000])
def test_sampling_probabilities_equal_ratios_of_counts(length):
    """Compared with exact fractions. A sum of two terms rounds once a symbol, and a ratio of two sums 3 times more."""
    language = NoThreeZeros()
    scaled, powers = _paths(NoThreeZeros).scaled(length)
    ways = [[1, 1, 1]]
    for _ in range(length):
        ways.append([sum(ways[-1][to] for to in row if to is not None) for row in language.moves])
    for place in (0, length // 2, length - 1):
        left = length - place
        for state, row in enumerate(language.moves):
            zeros = 0 if row[0] is None else ways[left - 1][row[0]]
            exact = Fraction(zeros, ways[left][state])
            after = [_paths(NoThreeZeros).blocks[to] if to is not None else -1 for to in row]
            sums = np.cumsum([scaled[left - 1, to] * 2.0 ** (powers[left - 1, to] - left) for to in after])
            assert abs(Fraction(sums[0] / sums[1]) - exact) <= (2 * left + 3) * Fraction(1, 2**53) * exact


def test_a_path_may_be_rare_beside_others_that_cannot_be_taken():
    """At an odd length the only word is a b ... b, while very many ways lead on from a state that is not reached."""
    language = language_of("ab*|aa((c|d)(c|d))*", "abcd")
    (word,) = language.sample([3_001], np.random.default_rng(0))
    assert word == "a" + 3_000 * "b"
    words = language.sample([3_000] * 20, np.random.default_rng(0))
    assert all(language.contains(each) and each[1] == "a" for each in words)


def test_a_word_of_length_100_000_is_drawn():
    language = NoThreeZeros()
    (row,) = language.draw(100_000, 1, np.random.default_rng(0))
    assert language.contains("".join("01"[token] for token in row))


def test_drawing_the_only_word_of_a_length_uses_no_random_number():
    generator = np.random.default_rng(0)
    tokens = language_of("(aab)*", "ab").draw(6, 3, generator)
    assert tokens.tolist() == [[0, 0, 1, 0, 0, 1]] * 3
    assert generator.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("expression", ["(" * 10_000, "a" * 10_000, "(a|b)*a" + "(a|b)" * 90])
def test_an_expression_that_would_need_too_much_is_refused_at_once(expression: str) -> None:
    with pytest.raises(UserError, match=r"too large|too many states") as raised:
        automaton(expression, "ab")
    assert len(str(raised.value)) < 200
