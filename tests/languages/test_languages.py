"""The contract of every language: its states, labels, counts and samples agree with its second definition."""

import doctest
import importlib
from collections import Counter
from itertools import product

import numpy as np
import pytest

import fwplab.languages
from fwplab.errors import UserError
from fwplab.languages import END, LANGUAGES, Language, load_language
from fwplab.studies.irie2023 import LANGUAGES as PAPER_LANGUAGES

STRINGS = 10_000
"""All strings are tested up to a length at which there are fewer than this, and at most up to LONGEST."""
LONGEST = 12
MOST_WORDS = 200
"""Sampling frequencies are tested at lengths with at most this many words."""
MOST_STATES = 30_000
"""The most states that are visited in the search for a word with a given prefix."""


@pytest.fixture(params=LANGUAGES.own_names())
def language(request: pytest.FixtureRequest) -> Language:
    return load_language(request.param)


def all_strings(language: Language, low: int, high: int) -> list[str]:
    return ["".join(letters) for n in range(low, high + 1) for letters in product(language.symbols, repeat=n)]


def longest_exhaustive(language: Language) -> int:
    symbols = len(language.symbols)
    return max(n for n in range(LONGEST + 1) if sum(symbols**length for length in range(n + 1)) < STRINGS)


def words_by_the_rule(language: Language, length: int) -> list[str]:
    return [string for string in all_strings(language, length, length) if language.word_rule(string)]


def test_the_languages_of_the_paper_are_in_the_catalogue():
    assert set(PAPER_LANGUAGES) <= set(LANGUAGES.own_names())


def test_the_former_name_of_load_language_still_works():
    assert fwplab.languages.language is load_language


def test_every_language_has_a_second_definition(language):
    assert language.word_rule("") is not None


def test_a_name_may_have_hyphens_and_an_unknown_one_names_the_choices():
    assert load_language("reset-dyck-1").name == "reset_dyck_1"
    with pytest.raises(UserError, match="parity"):
        load_language("parrity")


def test_doctests_run_for_every_language(language):
    result = doctest.testmod(importlib.import_module(type(language).__module__))
    assert result.attempted > 0
    assert result.failed == 0


def test_descriptions_are_complete(language):
    assert all(len(symbol) == 1 for symbol in language.symbols)
    assert len(set(language.symbols)) == len(language.symbols)
    assert len(set(language.classes)) == len(language.classes)
    assert language.hierarchy
    assert load_language(language.name).symbols == language.symbols


def test_contains_agrees_with_the_second_definition(language):
    for string in all_strings(language, 0, longest_exhaustive(language)):
        assert language.contains(string) == language.word_rule(string), string


def test_labels_agree_with_the_second_definition(language):
    """If the second definition has no label at some position, the language refuses the string."""
    labelled = 0
    for string in all_strings(language, 0, longest_exhaustive(language)):
        expected = [language.label_rule(string[:end]) for end in range(1, len(string) + 1)]
        if None in expected:
            with pytest.raises(
                UserError, match=f"no word continues with symbol .* at position {expected.index(None) + 1},"
            ):
                language.labels(string)
        else:
            labelled += 1
            assert language.labels(string) == expected, string
    assert labelled > 5


def test_every_class_occurs_as_a_label(language):
    strings = all_strings(language, 1, longest_exhaustive(language))
    words = language.sample(np.resize(language.lengths(1, 40), 600).tolist(), np.random.default_rng(0))
    found = {label for word in words for label in language.labels(word)}
    assert found | {language.label_rule(string) for string in strings} - {None} == set(language.classes)


def test_next_symbols_include_the_next_symbol_of_every_word(language):
    for word in filter(language.word_rule, all_strings(language, 0, longest_exhaustive(language))):
        for end, symbol in enumerate(word):
            assert symbol in language.next_symbols(word[:end]), word


def test_every_next_symbol_can_be_completed_to_a_word(language):
    for prefix in all_strings(language, 0, longest_exhaustive(language) // 2):
        for symbol in language.next_symbols(prefix) - {END}:
            word = _completed(language, prefix + symbol)
            assert language.word_rule(word), (prefix, word)


def _completed(language: Language, prefix: str) -> str:
    """A shortest word with this prefix, according to the language's own states."""
    state = language.start
    for symbol in prefix:
        state = language.step(state, symbol)
    waiting, seen = [(prefix, state)], {state}
    for string, state in waiting:
        if END in language.following(state):
            return string
        for symbol in sorted(language.following(state)):
            after = language.step(state, symbol)
            if after not in seen and len(seen) < MOST_STATES:
                seen.add(after)
                waiting.append((string + symbol, after))
    raise AssertionError(f"{language.name}: nothing found that completes {prefix!r}")


def test_end_is_a_next_symbol_exactly_of_words(language):
    for prefix in all_strings(language, 0, longest_exhaustive(language)):
        assert (END in language.next_symbols(prefix)) == language.word_rule(prefix)


def test_a_prefix_of_no_word_has_no_continuation(language):
    for prefix in all_strings(language, 0, longest_exhaustive(language) - 1):
        if not language.next_symbols(prefix):
            assert not any(language.next_symbols(prefix + symbol) for symbol in language.symbols), prefix


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("abab_star", "b"),
        ("counter_2", "aba"),
        ("counter_2", "abb"),
        ("counter_3", "aabc"),
        ("dyck_1", "())("),
        ("shuffle_2", "(])"),
        ("reset_dyck_1", "1()1"),
        ("reset_dyck_1", ")1"),
        ("parity", "0x"),
    ],
)
def test_known_prefixes_of_no_word_have_no_next_symbols(name, prefix):
    assert load_language(name).next_symbols(prefix) == frozenset()
    assert not load_language(name).contains(prefix)


def test_count_equals_the_number_of_words(language):
    found = Counter(len(s) for s in all_strings(language, 0, longest_exhaustive(language)) if language.word_rule(s))
    assert [language.count(n) for n in range(longest_exhaustive(language) + 1)] == [
        found[n] for n in range(longest_exhaustive(language) + 1)
    ]
    assert language.lengths(0, longest_exhaustive(language)) == sorted(found)


def test_a_symbol_outside_the_alphabet_is_an_error_with_its_position(language):
    start = language.sample(language.lengths(4, 8)[:1], np.random.default_rng(0))[0]
    with pytest.raises(UserError, match=rf"'\u2603' at position {len(start) + 1} "):
        language.labels(start + "\u2603")


@pytest.mark.parametrize(
    ("name", "string", "position"),
    [("counter_2", "b", 1), ("counter_2", "aba", 3), ("counter_2", "abb", 3), ("counter_3", "aabbb", 5)],
)
def test_a_prefix_of_no_word_has_no_labels(name, string, position):
    with pytest.raises(UserError, match=f"no word continues with symbol .* at position {position},"):
        load_language(name).labels(string)


def test_samples_are_words_of_the_requested_lengths_in_order(language):
    generator = np.random.default_rng(1)
    lengths = generator.choice(language.lengths(0, 40), 300).tolist()
    words = language.sample(lengths, generator)
    assert [len(word) for word in words] == lengths
    assert all(language.word_rule(word) for word in words)


def test_samples_depend_only_on_the_generator(language):
    lengths = language.lengths(8, 40)
    again = [language.sample(lengths, np.random.default_rng(5)) for _ in range(2)]
    assert again[0] == again[1]


def test_sampling_a_length_without_words_is_an_error_with_nearby_lengths(language):
    missing = [length for length in range(-1, 12) if length < 0 or language.count(length) == 0]
    for length in missing:
        with pytest.raises(UserError, match=f"no word of length {length}; lengths near it: "):
            language.sample([length], np.random.default_rng(0))


def test_words_of_length_10_000_are_sampled(language):
    length = language.lengths(min(10_000, language.longest - 2), min(10_002, language.longest))[0]
    words = language.sample([length, length], np.random.default_rng(2))
    assert all(len(word) == length and language.contains(word) for word in words)


@pytest.mark.parametrize("name", ["parity", "aa_star"])
def test_words_of_length_100_000_are_sampled_and_labelled(name):
    word = load_language(name).sample([100_000], np.random.default_rng(3))[0]
    assert len(word) == 100_000
    assert load_language(name).labels(word)[-1] == "1"


def test_samples_have_the_documented_distribution(language):
    """Chi-square test with a fixed seed. The bound is the mean plus five standard deviations of the statistic."""
    countable = [
        length for length in language.lengths(1, longest_exhaustive(language)) if language.count(length) <= MOST_WORDS
    ]
    for length in countable[-2:]:
        weights = {word: language.draw_weight(word) for word in words_by_the_rule(language, length)}
        shares = {word: weight / sum(weights.values()) for word, weight in weights.items()}
        number = 200 * len(shares)
        found = Counter(language.sample([length] * number, np.random.default_rng(11)))
        assert found.keys() == shares.keys()
        statistic = sum((found[w] - number * share) ** 2 / (number * share) for w, share in shares.items())
        freedom = len(shares) - 1
        assert statistic <= freedom + 5 * (2 * freedom) ** 0.5


def test_shuffle_2_samples_have_the_exact_distribution_of_pairs():
    """At length 60, the probability of k round pairs is proportional to comb(60, 2k) C_k C_(30-k) (Catalan numbers)."""
    from math import comb

    half, number = 30, 20_000
    catalan = [comb(2 * k, k) // (k + 1) for k in range(half + 1)]
    weights = [comb(2 * half, 2 * k) * catalan[k] * catalan[half - k] for k in range(half + 1)]
    assert sum(weights) == load_language("shuffle_2").count(2 * half)
    words = load_language("shuffle_2").sample([2 * half] * number, np.random.default_rng(4))
    pairs = np.array([word.count("(") for word in words])
    mean = sum(k * w for k, w in enumerate(weights)) / sum(weights)
    variance = sum(k * k * w for k, w in enumerate(weights)) / sum(weights) - mean**2
    assert abs(pairs.mean() - mean) < 5 * (variance / number) ** 0.5
    assert abs(pairs.var() - variance) < 0.05 * variance


def test_a_sample_drawn_in_several_batches_has_the_requested_size(monkeypatch, language):
    # The function `language` of the package hides the module of that name.
    monkeypatch.setattr(importlib.import_module("fwplab.languages.language"), "SYMBOLS_AT_ONCE", 50)
    length = language.lengths(12, 24)[0]
    words = language.sample([length] * 30, np.random.default_rng(0))
    assert len(words) == 30
    assert all(language.word_rule(word) for word in words)
