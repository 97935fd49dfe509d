"""Three tasks from one definition."""

import numpy as np
import pytest

from fwplab.errors import UserError
from fwplab.languages import END, LANGUAGES, Language, language
from fwplab.languages.tasks import _edit, next_symbol_sets, recognition, transduction


@pytest.fixture(params=LANGUAGES.names())
def spoken(request: pytest.FixtureRequest) -> Language:
    return language(request.param)


def edit_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        previous, row = row, [i]
        for j, b in enumerate(right, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a != b)))
    return row[-1]


def test_transduction_gives_the_labels_of_words(spoken):
    lengths = spoken.lengths(1, 20)
    examples = transduction(spoken, lengths, np.random.default_rng(0))
    assert [len(word) for word, _ in examples] == lengths
    assert all(spoken.contains(word) and labels == spoken.labels(word) for word, labels in examples)


def test_next_symbol_sets_are_those_of_the_prefixes(spoken):
    for word, sets in next_symbol_sets(spoken, spoken.lengths(1, 20), np.random.default_rng(0)):
        assert sets == [spoken.next_symbols(word[:end]) for end in range(1, len(word) + 1)]
        assert END in sets[-1]


def test_recognition_says_the_truth_and_is_half_members(spoken):
    examples = recognition(spoken, list(range(40)) * 3, np.random.default_rng(0))
    assert all(spoken.contains(string) == member for string, member in examples)
    assert sum(member for _, member in examples) == 60


def test_recognition_keeps_lengths_within_what_an_edit_and_the_language_allow(spoken):
    lengths = list(range(12, 40)) * 3
    examples = recognition(spoken, lengths, np.random.default_rng(1))
    step = max(np.diff(spoken.lengths(12, 60)))
    for (string, _), length in zip(examples, lengths, strict=True):
        assert abs(len(string) - length) <= step // 2 + 1


def test_half_of_the_negatives_are_one_edit_away_from_a_member():
    """Words of a^n b^n c^n are so few that the distance to all of them can be taken."""
    spoken = language("counter_3")
    words = spoken.sample(spoken.lengths(0, 36), np.random.default_rng(0))
    examples = recognition(spoken, list(range(12, 28)) * 5, np.random.default_rng(2))
    negatives = [string for string, member in examples if not member]
    near = [string for string in negatives if min(edit_distance(string, word) for word in words) == 1]
    assert len(negatives) == 40
    assert len(near) == 20


def test_an_edit_is_at_distance_one(spoken):
    generator = np.random.default_rng(3)
    for word in spoken.sample(spoken.lengths(0, 12) * 10, generator):
        edited = _edit(spoken, word, generator)
        assert edit_distance(word, edited) == 1
        assert set(edited) <= set(spoken.symbols)


def test_all_three_edits_occur():
    generator = np.random.default_rng(4)
    sizes = {len(_edit(language("parity"), "0110", generator)) for _ in range(50)}
    assert sizes == {3, 4, 5}


def test_negatives_of_a_unary_language_have_odd_lengths():
    examples = recognition(language("aa_star"), [10] * 40, np.random.default_rng(0))
    assert {len(string) for string, member in examples if member} == {10}
    assert {len(string) for string, member in examples if not member} == {9, 11}


def test_no_lengths_no_examples():
    assert recognition(language("parity"), [], np.random.default_rng(0)) == []


class Everything(type(language("aa_star"))):
    """All strings of a's: a language without negatives."""

    name = "everything"

    def following(self, state: int) -> frozenset[str]:
        return frozenset(("a", END))

    def count(self, length: int) -> int:
        return 1


def test_a_language_without_negatives_is_refused():
    with pytest.raises(UserError, match="1000 strings in a row were words"):
        recognition(Everything(), [4] * 8, np.random.default_rng(0))
