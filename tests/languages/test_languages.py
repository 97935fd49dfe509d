"""The contract of every language in the catalogue, against an oracle written from the rules alone."""

import doctest
import importlib
import re
from collections import Counter
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from fwplab.errors import UserError
from fwplab.languages import END, LANGUAGES, Language, language


# Membership by rewriting and counting, with no machine and no depth in sight.
def _reduced(string: str, pair: str = "()") -> str:
    while pair in string:
        string = string.replace(pair, "")
    return string


def _balanced(string: str, pair: str) -> bool:
    return _reduced(string, pair) == ""


def _keep(string: str, symbols: str) -> str:
    return "".join(symbol for symbol in string if symbol in symbols)


def _equal_blocks(string: str, symbols: str) -> bool:
    return string == "".join(symbol * (len(string) // len(symbols)) for symbol in symbols)


MEMBER: dict[str, Callable[[str], bool]] = {
    "parity": lambda s: s.count("1") % 2 == 0,
    "aa_star": lambda s: re.fullmatch("(aa)*", s) is not None,
    "abab_star": lambda s: re.fullmatch("(abab)*", s) is not None,
    "counter_2": lambda s: _equal_blocks(s, "ab"),
    "counter_3": lambda s: _equal_blocks(s, "abc"),
    "shuffle_2": lambda s: _balanced(_keep(s, "()"), "()") and _balanced(_keep(s, "[]"), "[]"),
    "dyck_1": lambda s: _balanced(s, "()"),
    "reset_dyck_1": lambda s: (
        s.count("1") == 1 and _balanced(s.split("1")[1], "()") and ")" not in _reduced(s.split("1")[0])
    ),
}


def _surplus(string: str, opening: str, closing: str) -> str:
    return "1" if string.count(opening) > string.count(closing) else "0"


# The label of the last position of a prefix.
LABEL: dict[str, Callable[[str], str]] = {
    "parity": lambda p: str(int(MEMBER["parity"](p))),
    "aa_star": lambda p: str(int(MEMBER["aa_star"](p))),
    "abab_star": lambda p: str(int(MEMBER["abab_star"](p))),
    "counter_2": lambda p: "a" if "b" not in p else "b" if p.count("b") < p.count("a") else "T",
    "counter_3": lambda p: (
        "a" if "b" not in p else "b" if p.count("b") < p.count("a") else "c" if p.count("c") < p.count("a") else "T"
    ),
    "shuffle_2": lambda p: _surplus(p, "(", ")") + _surplus(p, "[", "]"),
    "dyck_1": lambda p: _surplus(p, "(", ")"),
    "reset_dyck_1": lambda p: _surplus(p.split("1")[-1], "(", ")"),
}

DEEPEST = {1: 12, 2: 10, 3: 7, 4: 6}  # by the size of the alphabet: below 10,000 strings
HAVE_TOTAL_LABELS = {"parity", "aa_star", "abab_star", "shuffle_2", "dyck_1", "reset_dyck_1"}


@pytest.fixture(params=LANGUAGES.names())
def spoken(request: pytest.FixtureRequest) -> Language:
    return language(request.param)


def all_strings(spoken: Language, low: int, high: int) -> list[str]:
    return ["".join(letters) for n in range(low, high + 1) for letters in product(spoken.symbols, repeat=n)]


def deepest(spoken: Language) -> int:
    return DEEPEST[len(spoken.symbols)]


def test_the_eight_of_the_paper_are_there():
    assert set(LANGUAGES.names()) >= set(MEMBER)


def test_a_name_may_have_hyphens_and_an_unknown_one_names_the_choices():
    assert language("reset-dyck-1").name == "reset_dyck_1"
    with pytest.raises(UserError, match="parity"):
        language("parrity")


def test_doctests_run_for_every_language(spoken):
    result = doctest.testmod(importlib.import_module(type(spoken).__module__))
    assert result.attempted > 0
    assert result.failed == 0


def test_descriptions_are_complete(spoken):
    assert all(len(symbol) == 1 for symbol in spoken.symbols)
    assert len(set(spoken.symbols)) == len(spoken.symbols)
    assert len(set(spoken.classes)) == len(spoken.classes)
    assert spoken.hierarchy
    assert language(spoken.name).symbols == spoken.symbols


def test_contains_is_the_rule(spoken):
    for string in all_strings(spoken, 0, deepest(spoken)):
        assert spoken.contains(string) == MEMBER[spoken.name](string), string


def test_labels_are_the_rule(spoken):
    strings = all_strings(spoken, 0, deepest(spoken))
    if spoken.name not in HAVE_TOTAL_LABELS:
        strings = [string for string in strings if string == "" or spoken.next_symbols(string)]
    assert len(strings) > 5
    for string in strings:
        expected = [LABEL[spoken.name](string[:end]) for end in range(1, len(string) + 1)]
        assert spoken.labels(string) == expected, string


def test_every_label_is_a_class_and_every_class_occurs(spoken):
    words = [word for length in range(13) if spoken.count(length) for word in _members(spoken, length)]
    found = {label for word in words for label in spoken.labels(word)}
    assert found == set(spoken.classes)


def _members(spoken: Language, length: int) -> list[str]:
    return spoken.sample([length] * 20, np.random.default_rng(length))


def test_next_symbols_are_those_on_the_way_to_a_word(spoken):
    """The reach is long enough to close what a short prefix opens."""
    high = deepest(spoken)
    live = {""}
    for word in all_strings(spoken, 0, high):
        if MEMBER[spoken.name](word):
            live.update(word[:end] for end in range(len(word) + 1))
    shortest_close = {1: 2, 2: 4, 3: 2, 4: 2}[len(spoken.symbols)]
    if spoken.name == "counter_3":
        shortest_close = 5
    for prefix in all_strings(spoken, 0, (high - shortest_close) // 2):
        expected = {symbol for symbol in spoken.symbols if prefix + symbol in live}
        if MEMBER[spoken.name](prefix):
            expected.add(END)
        assert spoken.next_symbols(prefix) == expected, prefix


def test_end_is_in_the_next_symbols_of_words_alone(spoken):
    for prefix in all_strings(spoken, 0, deepest(spoken)):
        assert (END in spoken.next_symbols(prefix)) == MEMBER[spoken.name](prefix)


def test_a_dead_prefix_stays_dead(spoken):
    for prefix in all_strings(spoken, 0, deepest(spoken) - 1):
        if not spoken.next_symbols(prefix):
            assert not any(spoken.next_symbols(prefix + symbol) for symbol in spoken.symbols), prefix


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
def test_dead_prefixes(name, prefix):
    assert language(name).next_symbols(prefix) == frozenset()
    assert not language(name).contains(prefix)


def test_count_is_the_number_of_words(spoken):
    found = Counter(len(s) for s in all_strings(spoken, 0, deepest(spoken)) if MEMBER[spoken.name](s))
    assert [spoken.count(n) for n in range(deepest(spoken) + 1)] == [found[n] for n in range(deepest(spoken) + 1)]
    assert spoken.lengths(0, deepest(spoken)) == sorted(found)


def test_a_foreign_symbol_is_named_with_its_position(spoken):
    start = spoken.sample(spoken.lengths(4, 8)[:1], np.random.default_rng(0))[0]
    with pytest.raises(UserError, match=rf"'x' at position {len(start) + 1} "):
        spoken.labels(start + "x")


@pytest.mark.parametrize(
    ("name", "string", "position"),
    [("counter_2", "b", 1), ("counter_2", "aba", 3), ("counter_2", "abb", 3), ("counter_3", "aabbb", 5)],
)
def test_a_string_that_begins_no_word_has_no_labels(name, string, position):
    with pytest.raises(UserError, match=f"position {position} continues no word"):
        language(name).labels(string)


def test_samples_have_exact_lengths_in_order_and_are_words(spoken):
    generator = np.random.default_rng(1)
    lengths = generator.choice(spoken.lengths(0, 40), 300).tolist()
    words = spoken.sample(lengths, generator)
    assert [len(word) for word in words] == lengths
    assert all(MEMBER[spoken.name](word) for word in words)


def test_samples_come_from_the_generator_alone(spoken):
    lengths = spoken.lengths(8, 40)
    again = [spoken.sample(lengths, np.random.default_rng(5)) for _ in range(2)]
    assert again[0] == again[1]


def test_sampling_a_length_without_words_names_lengths_near_it(spoken):
    missing = [length for length in range(-1, 12) if length < 0 or spoken.count(length) == 0]
    for length in missing:
        with pytest.raises(UserError, match=f"no word of length {length}; lengths near it: "):
            spoken.sample([length], np.random.default_rng(0))


def test_long_words(spoken):
    length = spoken.lengths(10_000, 10_002)[0]
    words = spoken.sample([length, length], np.random.default_rng(2))
    assert all(len(word) == length and spoken.contains(word) for word in words)


@pytest.mark.parametrize("name", ["parity", "aa_star"])
def test_a_word_of_length_100_000(name):
    word = language(name).sample([100_000], np.random.default_rng(3))[0]
    assert len(word) == 100_000
    assert language(name).labels(word)[-1] == "1"


def _expected_shares(spoken: Language, length: int) -> dict[str, float]:
    """What the sampler promises for each word: uniform, in reset Dyck given the reset's place."""
    words = [word for word in all_strings(spoken, length, length) if MEMBER[spoken.name](word)]
    if spoken.name != "reset_dyck_1":
        return dict.fromkeys(words, 1 / len(words))
    places = Counter(word.index("1") for word in words)
    return {word: 1 / len(places) / places[word.index("1")] for word in words}


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("parity", 6),
        ("dyck_1", 8),
        ("dyck_1", 10),
        ("shuffle_2", 6),
        ("reset_dyck_1", 7),
        ("reset_dyck_1", 8),
    ],
)
def test_samples_are_distributed_as_promised(name, length):
    """Chi-square with a fixed seed; the bound is the mean plus five standard deviations of the statistic."""
    spoken = language(name)
    shares = _expected_shares(spoken, length)
    number = 200 * len(shares)
    found = Counter(spoken.sample([length] * number, np.random.default_rng(11)))
    assert found.keys() == shares.keys()
    statistic = sum((found[w] - number * share) ** 2 / (number * share) for w, share in shares.items())
    freedom = len(shares) - 1
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def test_shuffle_pairs_are_drawn_by_their_exact_shares():
    """At length 60 the number of round pairs follows comb(60, 2k) C_k C_(30-k), in exact integers."""
    from math import comb

    half, number = 30, 20_000
    catalan = [comb(2 * k, k) // (k + 1) for k in range(half + 1)]
    weights = [comb(2 * half, 2 * k) * catalan[k] * catalan[half - k] for k in range(half + 1)]
    assert sum(weights) == language("shuffle_2").count(2 * half)
    words = language("shuffle_2").sample([2 * half] * number, np.random.default_rng(4))
    pairs = np.array([word.count("(") for word in words])
    mean = sum(k * w for k, w in enumerate(weights)) / sum(weights)
    variance = sum(k * k * w for k, w in enumerate(weights)) / sum(weights) - mean**2
    assert abs(pairs.mean() - mean) < 5 * (variance / number) ** 0.5
    assert abs(pairs.var() - variance) < 0.05 * variance


def test_batches_of_a_sampler_join_to_the_asked_number(monkeypatch, spoken):
    # the package's function `language` hides its module of that name
    monkeypatch.setattr(importlib.import_module("fwplab.languages.language"), "SYMBOLS_AT_ONCE", 50)
    length = spoken.lengths(12, 24)[0]
    words = spoken.sample([length] * 30, np.random.default_rng(0))
    assert len(words) == 30
    assert all(MEMBER[spoken.name](word) for word in words)
