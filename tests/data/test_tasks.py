"""The three tasks of a language: transduction, next symbols and recognition."""

import json
from typing import Any

import numpy as np
import pytest

from fwplab.cli import run
from fwplab.data.dataset import IGNORE, encode
from fwplab.data.splits import SplitSpec, make_splits
from fwplab.data.tasks import (
    TASKS,
    _edit,
    count_non_words,
    for_task,
    next_symbol_sets,
    non_words,
    recognition,
    transduction,
)
from fwplab.errors import UserError
from fwplab.languages import END, LANGUAGES, Language, load_language
from fwplab.languages._regular import Regular
from fwplab.mixers import MIXERS
from fwplab.training.run import Protocol, Run
from fwplab.training.spec import from_dict, to_dict


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(arguments) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(params=LANGUAGES.own_names())
def language(request: pytest.FixtureRequest) -> Language:
    return load_language(request.param)


def edit_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        previous, row = row, [i]
        for j, b in enumerate(right, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a != b)))
    return row[-1]


def test_transduction_gives_the_labels_of_words(language):
    lengths = language.lengths(1, 20)
    examples = transduction(language, lengths, np.random.default_rng(0))
    assert [len(word) for word, _ in examples] == lengths
    assert all(language.contains(word) and labels == language.labels(word) for word, labels in examples)


def test_next_symbol_sets_equal_those_of_the_prefixes(language):
    for word, sets in next_symbol_sets(language, language.lengths(1, 20), np.random.default_rng(0)):
        assert sets == [language.next_symbols(word[:end]) for end in range(1, len(word) + 1)]
        assert END in sets[-1]


def test_recognition_examples_are_right_and_half_of_them_are_words(language):
    examples = recognition(language, list(range(40)) * 3, np.random.default_rng(0))
    assert all(language.contains(string) == word for string, word in examples)
    assert sum(word for _, word in examples) == 60
    assert not any(string == "" and not word for string, word in examples)


def test_recognition_examples_have_lengths_near_the_requested_ones(language):
    lengths = list(range(12, 40)) * 3
    examples = recognition(language, lengths, np.random.default_rng(1))
    step = max(np.diff(language.lengths(12, 60)))
    for (string, _), length in zip(examples, lengths, strict=True):
        assert abs(len(string) - length) <= step // 2 + 1


def test_half_of_the_negatives_are_one_edit_away_from_a_member():
    """The language a^n b^n c^n has so few words that the distance to each can be computed."""
    language = load_language("counter_3")
    words = language.sample(language.lengths(0, 36), np.random.default_rng(0))
    examples = recognition(language, list(range(12, 28)) * 5, np.random.default_rng(2))
    negatives = [string for string, member in examples if not member]
    near = [string for string in negatives if min(edit_distance(string, word) for word in words) == 1]
    assert len(negatives) == 40
    assert len(near) == 20


def test_an_edit_is_at_distance_one(language):
    generator = np.random.default_rng(3)
    for word in language.sample(language.lengths(0, 12) * 10, generator):
        edited = _edit(language, word, generator)
        assert edit_distance(word, edited) == 1
        assert set(edited) <= set(language.symbols)


def test_all_three_edits_occur():
    generator = np.random.default_rng(4)
    sizes = {len(_edit(load_language("parity"), "0110", generator)) for _ in range(50)}
    assert sizes == {3, 4, 5}


def test_negatives_of_a_unary_language_have_odd_lengths():
    examples = recognition(load_language("aa_star"), [10] * 40, np.random.default_rng(0))
    assert {len(string) for string, member in examples if member} == {10}
    assert {len(string) for string, member in examples if not member} == {9, 11}


def test_recognition_of_no_lengths_gives_no_examples():
    assert recognition(load_language("parity"), [], np.random.default_rng(0)) == []


class Everything(type(load_language("aa_star"))):
    """All strings over `a`, so that there are no non-words."""

    name = "everything"
    expression = "a*"


class NoThreeZeros(Regular):
    """Every edit of a word of length 1 is again a word."""

    name = "no_three_zeros"
    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    expression = "(|0|00)(1(|0|00))*"


class AllButOne(Regular):
    """All strings except 10101010, so that almost every random string and every edit is a word."""

    name = "all_but_one"
    symbols = ("0", "1")
    hierarchy = "regular (star-free)"
    moves = (*((1 + place, 9) if place % 2 else (9, 1 + place) for place in range(8)), (9, 9), (9, 9))
    accepting = frozenset(range(10)) - {8}


def test_a_language_without_non_words_is_refused():
    with pytest.raises(UserError, match="everything has no example of a length near 4"):
        recognition(Everything(), [4] * 8, np.random.default_rng(0))


def test_non_words_are_random_strings_if_no_edit_leaves_the_language():
    examples = recognition(NoThreeZeros(), [1] * 40, np.random.default_rng(0))
    others = [string for string, word in examples if not word]
    assert len(others) == 20
    assert set(others) == {"000"}  # 3 is the nearest length with a non-word


def test_non_words_are_edits_if_random_strings_are_words(monkeypatch):
    assert set(non_words(AllButOne(), [8] * 6, np.random.default_rng(0))) == {"10101010"}
    monkeypatch.setattr("fwplab.data.tasks.ATTEMPTS", 1)
    with pytest.raises(UserError, match="all strings found near length 30 are words; choose other lengths"):
        non_words(AllButOne(), [30], np.random.default_rng(0))


def test_recognition_has_one_label_at_the_end_of_the_string(language):
    recognised = for_task(language, "recognition")
    word, *_ = language.sample(language.lengths(1, 20)[-1:], np.random.default_rng(0))
    data = encode(recognised, [word, word[:-1]])
    for row, string in enumerate(data.strings):
        label = data.labels[row, len(string) - 1 : len(string)].tolist()
        assert label == [int(language.contains(string))] * (len(string) > 0)
        assert set(np.delete(data.labels[row], len(string) - 1)) <= {IGNORE}
    assert recognised.name == language.name


def test_an_unknown_task_is_refused():
    with pytest.raises(UserError, match="unknown task 'translation'; choose from: transduction, recognition"):
        for_task(load_language("parity"), "translation")
    with pytest.raises(UserError, match="unknown task 'translation'; choose from: transduction, recognition"):
        SplitSpec(task="translation")


SPEC = SplitSpec(
    train_lengths=(0, 12),
    longer_lengths=(13, 20),
    train_strings=61,
    validation_strings=30,
    test_lengths=((0, 12), (24, 24)),
    test_strings=20,
    task="recognition",
)


def test_recognition_sets_are_half_words_and_disjoint_if_there_are_enough_strings(language):
    sets = make_splits(language, SPEC).named()
    for name, data in sets.items():
        words = [string for string in data.strings if language.contains(string)]
        others = [string for string in data.strings if not language.contains(string)]
        low, high = {"train": (1, 12), "bin0": (1, 12), "test_0_12": (1, 12), "bin1": (13, 20)}.get(name, (23, 25))
        assert all(low <= len(string) <= high for string in data.strings)
        assert len(words) - len(others) in ((0, 1) if len(others) < 2 or name == "train" else range(len(words)))
        assert 0 < len(others) <= len(words)
        assert data.labels[data.labels != IGNORE].tolist() == [int(string in words) for string in data.strings]
        assert name == "train" or len(set(data.strings)) == len(data.strings)
    pools = [{s for s in sets[name].strings if not language.contains(s)} for name in ("train", "bin0", "test_0_12")]
    few = all(count_non_words(language, length) < 2 for length in range(1, 13))
    assert few or not (pools[0] & pools[1] or pools[0] & pools[2] or pools[1] & pools[2])


def test_the_task_is_part_of_a_run_s_key_only_if_it_is_not_the_default():
    mixer = MIXERS.load("srwm")()
    usual, other = (Run("parity", mixer, protocol=Protocol(splits=SplitSpec(task=task))) for task in TASKS)
    assert usual.key == Run("parity", mixer).key != other.key
    assert from_dict(Run, to_dict(other)) == other
    assert "task" not in json.dumps(to_dict(usual, defaults=False))


def test_a_recognition_model_is_trained_evaluated_and_extracted(capsys, monkeypatch, tmp_path):
    """An LSTM on Dyck-1 with one label for each string."""
    monkeypatch.setenv("FWPLAB_HOME", str(tmp_path))
    model = ("--hidden", "16", "--layers", "1")
    sizes = ("--train-strings", "300", "--validation-strings", "40", "--test-strings", "20")
    some = ("--language", "dyck_1", "--mixer", "lstm", "--seeds", "1", "--max-steps", "60", "--workers", "1")
    trained = answer(capsys, "train", *some, *model, *sizes, "--task", "recognition", "--json")
    assert trained["task"] == "recognition"
    (checkpoint,) = trained["checkpoints"].values()
    scored = answer(capsys, "evaluate", checkpoint, "--lengths", "10", "40", "--strings", "16", "--json")
    assert [row["strings"] for row in scored["lengths"]] == [16, 16]
    assert all(row["chance"] >= 0.5 for row in scored["lengths"])
    found = answer(capsys, "extract", checkpoint, "--depth", "3", "--json")
    assert found["language"] == "dyck_1"
    assert [run["task"] for run in answer(capsys, "runs", "--json")] == ["recognition"]
    assert run(["probe", checkpoint, "probing"]) == 2
    assert "has the task recognition" in capsys.readouterr().err


def test_a_recognition_corpus_is_exported_audited_imported_and_trained_on(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FWPLAB_HOME", str(tmp_path / "home"))
    folder = str(tmp_path / "shuffled")
    sizes = ("--train-strings", "200", "--validation-strings", "20", "--test-strings", "10")
    task = ("--task", "recognition")
    answer(capsys, "corpus", "export", folder, "--language", "shuffle_2", *task, *sizes, "--json")
    lines = (tmp_path / "shuffled" / "train_tgt.txt").read_text().splitlines()
    assert sorted(set(lines)) == ["0", "1"]
    assert lines.count("1") == 100
    audited = answer(capsys, "corpus", "audit", folder, "--language", "shuffle_2", *task, "--json")
    assert audited["ok"]
    assert audited["positions"] == audited["words"]
    name = answer(capsys, "corpus", "import", folder, "--language", "shuffle_2", *task, "--json")["corpus"]
    some = ("--language", "shuffle_2", "--mixer", "lstm", "--seeds", "1", "--max-steps", "5", "--workers", "1")
    trained = answer(capsys, "train", *some, "--test-strings", "4", "--corpus", name.split("@")[0], *task, "--json")
    assert trained["members"][0]["steps"] == 5
