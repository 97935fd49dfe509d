"""Splits: disjoint sets if the language has enough words, each independent of the size of the others."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fwplab.data.dataset import IGNORE, encode
from fwplab.data.splits import Splits, SplitSpec, make_splits
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, Language, load_language

SPEC = SplitSpec(
    train_lengths=(2, 16),
    longer_lengths=(17, 30),
    train_strings=400,
    validation_strings=100,
    test_lengths=((2, 16), (17, 30), (40, 40)),
    test_strings=60,
)
DIGESTS = {
    "aa_star": "2dfbf2af4f27338e",
    "abab_star": "0e2c59740354a92b",
    "counter_2": "826a2aa719a67c7e",
    "counter_3": "f69d676a8af66460",
    "dyck_1": "50ebe09516f7df82",
    "parity": "09e3fb803a407c67",
    "reset_dyck_1": "74116a7493bc9eea",
    "shuffle_2": "b4aa41df95e153bd",
}
"""Digests of the sets that SPEC drew when the shipped runs were trained. A new language needs none."""


@pytest.fixture(params=LANGUAGES.own_names())
def language(request: pytest.FixtureRequest) -> Language:
    return load_language(request.param)


def has_one_word_a_length(language: Language) -> bool:
    return all(language.count(length) < 2 for length in language.lengths(2, 30))


def has_enough_words(language: Language) -> bool:
    """Whether the longest words of the training window alone would fill the sets."""
    return language.count(language.lengths(2, 16)[-1]) > 1_000


@pytest.fixture
def splits(language: Language) -> Splits:
    return make_splits(language, SPEC)


def strings_of(splits: Splits) -> dict[str, tuple[str, ...]]:
    return {name: data.strings for name, data in splits.named().items()}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_sets_of_shipped_runs_are_drawn_unchanged(name):
    digest = hashlib.sha256()
    for part, data in make_splits(load_language(name), SPEC).named().items():
        digest.update(part.encode() + "\n".join(data.strings).encode() + data.labels.tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[name]


def test_every_string_is_a_word_with_a_length_in_its_window(language, splits):
    windows = {
        "train": (2, 16),
        "bin0": (2, 16),
        "bin1": (17, 30),
        "test_2_16": (2, 16),
        "test_17_30": (17, 30),
    }
    for name, (low, high) in windows.items():
        for string in strings_of(splits)[name]:
            assert low <= len(string) <= high
            assert language.contains(string)


def test_validation_and_test_strings_are_distinct(splits):
    for name, strings in strings_of(splits).items():
        if name != "train":
            assert len(set(strings)) == len(strings) > 0, name


def test_sets_are_disjoint_unless_the_language_has_one_word_a_length(language, splits):
    strings = {name: set(each) for name, each in strings_of(splits).items()}
    pools = [
        strings["train"],
        strings["bin0"] | strings["bin1"],
        strings["test_2_16"] | strings["test_17_30"],
    ]
    overlap = sum(len(a & b) for i, a in enumerate(pools) for b in pools[:i])
    assert (overlap > 0) == has_one_word_a_length(language)


def test_languages_with_enough_words_fill_their_sets(language, splits):
    sizes = {name: len(strings) for name, strings in strings_of(splits).items()}
    assert sizes["train"] == SPEC.train_strings
    if has_enough_words(language):
        assert len(set(splits.train.strings)) == SPEC.train_strings
        assert sizes["bin0"] == sizes["bin1"] == SPEC.validation_strings
        assert sizes["test_17_30"] == SPEC.test_strings


@pytest.mark.parametrize("name", [name for name in LANGUAGES.own_names() if has_one_word_a_length(load_language(name))])
def test_languages_with_one_word_a_length_repeat_the_words_for_training(name):
    language = load_language(name)
    splits = make_splits(language, SPEC)
    words = language.sample(language.lengths(2, 16), np.random.default_rng(0))
    assert sorted(splits.bin0.strings) == sorted(words)
    times = Counter(splits.train.strings)
    assert set(times) == set(words)
    assert max(times.values()) - min(times.values()) <= 1


def test_few_words_are_divided_and_repeated_for_training():
    """Parity has 254 words of length 2 to 8, fewer than the spec requests."""
    splits = make_splits(load_language("parity"), replace(SPEC, train_lengths=(2, 8), test_lengths=((2, 8),)))
    train, bin0, test = splits.train, set(splits.bin0.strings), set(splits.tests[2, 8].strings)
    assert len(train) == SPEC.train_strings
    assert len(set(train.strings)) < 200
    assert not set(train.strings) & bin0
    assert not (set(train.strings) | bin0) & test
    assert len(set(train.strings)) + len(bin0) + len(test) <= 254
    assert len(set(train.strings)) + len(bin0) > 190


def test_lengths_are_uniform_if_there_are_enough_words():
    spec = replace(SPEC, train_lengths=(20, 39), train_strings=405, validation_strings=7)
    splits = make_splits(load_language("parity"), spec)
    times = Counter(splits.train.lengths.tolist())
    assert sorted(times) == list(range(20, 40))
    assert set(times.values()) <= {20, 21}
    assert len(splits.bin0) == 7


def test_the_seed_determines_the_strings(language):
    first, again = (strings_of(make_splits(language, SPEC)) for _ in range(2))
    other = strings_of(make_splits(language, replace(SPEC, seed=1)))
    assert first == again
    assert first["train"] != other["train"]


@pytest.mark.parametrize(
    "changed",
    [{"train_strings": 50}, {"validation_strings": 20}, {"test_strings": 9}, {"test_lengths": ((2, 16),)}],
)
def test_no_set_depends_on_the_size_of_another(language, splits, changed):
    other = make_splits(language, replace(SPEC, **changed))
    before, after = strings_of(splits), strings_of(other)
    prefixes = {"train_strings": "train", "validation_strings": "bin", "test_strings": "test"}
    resized = prefixes.get(next(iter(changed)), "none")
    assert all(before[name] == after[name] for name in after if not name.startswith(resized))


def test_a_test_window_without_a_word_uses_the_next_longer_length():
    assert set(make_splits(load_language("counter_3"), SPEC).tests[40, 40].lengths.tolist()) == {42}


def test_test_sets_are_a_mapping_from_windows(splits):
    assert tuple(splits.tests) == SPEC.test_lengths
    assert len(splits.tests) == 3
    assert splits.tests[40, 40] is splits.tests[40, 40]
    with pytest.raises(KeyError):
        splits.tests[1, 2]


def test_the_summary_counts_the_strings_of_the_sets(splits):
    train = set(splits.train.strings)
    assert [row.split for row in splits.summary()] == list(splits.named())
    for row in splits.summary():
        strings = splits.named()[row.split].strings
        assert row.strings == len(strings)
        assert row.distinct == len(set(strings))
        assert row.in_train == sum(string in train for string in set(strings))
        assert (row.shortest, row.longest) == (min(map(len, strings)), max(map(len, strings)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_lengths": (5, 2)}, "lengths 5 to 2"),
        ({"test_lengths": ((-1, 2),)}, "lengths -1 to 2"),
        ({"train_strings": 0}, "split of 0 strings"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_impossible_specs_are_refused(changed, message):
    with pytest.raises(UserError, match=message):
        replace(SPEC, **changed)


def test_windows_that_leave_a_set_empty_are_refused():
    with pytest.raises(UserError, match="no word of length 3 to 3"):
        make_splits(load_language("aa_star"), replace(SPEC, train_lengths=(3, 3)))


def test_two_words_give_two_sets_or_an_error():
    """Dyck-1 has two words of length 4. The seed decides whether both fall into the same set, so that one is empty."""
    refused = 0
    for seed in range(20):
        try:
            splits = make_splits(load_language("dyck_1"), replace(SPEC, train_lengths=(4, 4), seed=seed))
        except UserError:
            refused += 1
        else:
            assert {*splits.train.strings, *splits.bin0.strings} == {"()()", "(())"}
            assert not set(splits.train.strings) & set(splits.bin0.strings)
    assert 0 < refused < 20


def test_encoding_pads_tokens_and_labels(language):
    words = [*language.sample(language.lengths(0, 20), np.random.default_rng(0))]
    data = encode(language, words)
    assert data.strings == tuple(words)
    assert len(data) == len(words)
    assert data.tokens.dtype == data.labels.dtype == data.lengths.dtype == np.int64
    for word, tokens, labels, length in zip(words, data.tokens, data.labels, data.lengths, strict=True):
        assert "".join(language.symbols[token] for token in tokens[:length]) == word
        unasked = length - language.asked(length)
        assert [language.classes[label] for label in labels[unasked:length]] == language.targets(word)
        assert set(tokens[length:]) <= {len(language.symbols)}
        assert {*labels[:unasked], *labels[length:]} <= {IGNORE}


def test_encoding_no_strings_and_the_empty_string():
    assert encode(load_language("parity"), []).tokens.shape == (0, 0)
    assert encode(load_language("parity"), [""]).labels.shape == (1, 0)


def test_given_targets_replace_the_labels_of_the_language():
    assert encode(load_language("parity"), ["01"], [["0", "0"]]).labels.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("strings", "targets", "message"),
    [
        (["0x"], None, "'x' at position 2"),
        (["01"], [["0"]], "2 labels, its target 1"),
        (["01"], [["0", "T"]], "label 'T', choose from: 0 1"),
        (["01"], [], "1 strings but 0 targets"),
        (["0x"], [["0", "0"]], "symbol 'x', choose from: 0 1"),
    ],
)
def test_mismatched_strings_and_targets_are_refused(strings, targets, message):
    with pytest.raises(UserError, match=message):
        encode(load_language("parity"), strings, targets)


def test_a_string_without_labels_is_refused():
    with pytest.raises(UserError, match="no word continues with symbol 'a' at position 3,"):
        encode(load_language("counter_2"), ["ab", "aba"])
