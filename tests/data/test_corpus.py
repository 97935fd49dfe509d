"""Corpora: both published formats are read and written, and an audit finds every wrong label."""

import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fwplab.data.audit import audit, audit_corpus, datasets
from fwplab.data.corpus import FORMATS, Corpus, make_corpus, read, write
from fwplab.data.dataset import encode
from fwplab.data.imported import import_corpus
from fwplab.data.splits import SplitSpec, make_splits
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, Language, load_language
from fwplab.model.spec import ModelSpec
from fwplab.tables.rows import is_fresh
from fwplab.training.run import Run, mixer
from fwplab.training.trainer import train

SPEC = SplitSpec(
    train_lengths=(0, 12),
    longer_lengths=(13, 20),
    train_strings=40,
    validation_strings=12,
    test_lengths=((21, 30),),
    test_strings=5,
)


@pytest.fixture(params=LANGUAGES.own_names())
def language(request: pytest.FixtureRequest) -> Language:
    return load_language(request.param)


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    return request.param


def corpus_of(language: Language, format: str = "bhattamishra") -> Corpus:
    return make_corpus(language, make_splits(language, SPEC).named(), format)


def write_files(folder: Path, **files: str) -> Path:
    """Writes files. `__` in a keyword stands for the dot of the file name."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_written_corpus_is_read_back_unchanged(tmp_path, language, format):
    corpus = corpus_of(language, format)
    write(corpus, tmp_path / "corpus", format)
    assert read(tmp_path / "corpus", language) == corpus
    assert read(tmp_path / "corpus") == corpus


def test_converting_to_the_other_format_and_back_changes_nothing(tmp_path, language):
    write(corpus_of(language), tmp_path / "one", "bhattamishra")
    write(read(tmp_path / "one"), tmp_path / "two", "irie")
    write(read(tmp_path / "two"), tmp_path / "three", "bhattamishra")
    texts = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "three")]
    assert texts[0] == texts[1]


def test_written_corpora_pass_the_audit_and_equal_their_sets(tmp_path, language, format):
    splits = make_splits(language, SPEC)
    write(make_corpus(language, splits.named(), format), tmp_path / "corpus", format)
    result = audit(tmp_path / "corpus", language)
    assert result.ok
    assert result.wrong == 0
    assert result.words == sum(len(data) for data in splits.named().values())
    assert result.renamed == {}
    assert {part.summary.split: part.summary for part in result.parts} == {r.split: r for r in splits.summary()}
    for name, data in datasets(read(tmp_path / "corpus", language), language).items():
        assert data.strings == splits.named()[name].strings
        assert np.array_equal(data.tokens, splits.named()[name].tokens)
        assert np.array_equal(data.labels, splits.named()[name].labels)


def test_the_files_of_the_bhattamishra_format(tmp_path):
    shuffle = load_language("shuffle_2")
    sets = {
        "train": encode(shuffle, ["([)]", "[]"]),
        "bin0": encode(shuffle, ["()"]),
        "bin1": encode(shuffle, [""]),
    }
    write(make_corpus(shuffle, sets), tmp_path / "corpus", "bhattamishra")
    assert {path.name: path.read_text() for path in (tmp_path / "corpus").iterdir()} == {
        "train_src.txt": "([)]\n[]\n",
        "train_tgt.txt": "10110100\n0100\n",
        "val_src_bin0.txt": "()\n",
        "val_tgt_bin0.txt": "1000\n",
        "val_src_bin1.txt": "\n",
        "val_tgt_bin1.txt": "\n",
    }


def test_the_files_of_the_irie_format(tmp_path):
    counter = load_language("counter_2")
    sets = {
        "train": encode(counter, ["aabb", ""]),
        "bin0": encode(counter, ["ab"]),
        "bin1": encode(counter, []),
    }
    write(make_corpus(counter, sets), tmp_path / "corpus", "irie")
    assert {path.name: path.read_text() for path in (tmp_path / "corpus").iterdir()} == {
        "train_50.src": "a a b b\n\n",
        "train_50.tgt": "a a b T\n\n",
        "valid_50.src": "a b\n",
        "valid_50.tgt": "a T\n",
        "test_50.src": "",
        "test_50.tgt": "",
    }


def test_a_missing_last_newline_and_carriage_returns_are_accepted(tmp_path):
    write_files(tmp_path, train_src__txt="0110\r\n\r\n11", train_tgt__txt="1011\r\n\r\n01")
    part = read(tmp_path, load_language("parity")).parts["train"]
    assert part.strings == ("0110", "", "11")
    assert part.targets == (("1", "0", "1", "1"), (), ("0", "1"))
    assert audit(tmp_path, load_language("parity")).ok


@pytest.mark.parametrize("format", FORMATS)
def test_a_byte_order_mark_is_ignored(tmp_path, format):
    write(corpus_of(load_language("parity"), format), tmp_path / "plain", format)
    (tmp_path / "marked").mkdir()
    for path in (tmp_path / "plain").iterdir():
        (tmp_path / "marked" / path.name).write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(tmp_path / "marked") == read(tmp_path / "plain")


def test_hidden_files_are_not_read(tmp_path):
    write_files(tmp_path, train_src__txt="0110\n", train_tgt__txt="1011\n")
    for name in ("train_src", "train_tgt"):
        (tmp_path / f"._{name}.txt").write_bytes(b"\x00\x05\x16\xff")
    assert audit(tmp_path, load_language("parity")).ok


@pytest.mark.parametrize("label", ["0", "1", "x"])
def test_constant_labels_are_wrong(tmp_path, label):
    write_files(tmp_path, train_src__txt="(())\n()\n", train_tgt__txt=f"{label * 4}\n{label * 2}\n")
    result = audit(tmp_path, load_language("dyck_1"))
    assert not result.ok
    assert result.wrong == 2
    assert len(set(result.naming.values())) == len(result.naming) == 2


def test_two_classes_with_the_same_name_are_wrong(tmp_path):
    write_files(tmp_path, train_src__txt="aabb\nab\n", train_tgt__txt="aaaT\naT\n")
    result = audit(tmp_path, load_language("counter_2"))
    assert str(result.first_wrong) == "train_tgt.txt line 1: aabb: expected a a b T, found a a a T"


def test_renamed_label_classes_are_recognised(tmp_path):
    write_files(tmp_path, train_src__txt="aaabbb\naabb\nab\n", train_tgt__txt="cccbbT\nccbT\ncT\n")
    result = audit(tmp_path, load_language("counter_2"))
    assert result.ok
    assert result.renamed == {"a": "c"}
    assert "label classes have other names in the corpus: a is called c" in result.lines()
    assert datasets(read(tmp_path), load_language("counter_2"))["train"].labels[0].tolist() == [0, 0, 0, 1, 1, 2]


def test_a_renaming_must_hold_for_every_word(tmp_path):
    write_files(tmp_path, train_src__txt="aaabbb\naabb\naabb\n", train_tgt__txt="cccbbT\nccbT\naabT\n")
    result = audit(tmp_path, load_language("counter_2"))
    assert str(result.first_wrong) == "train_tgt.txt line 3: aabb: expected c c b T, found a a b T"
    assert result.wrong == 1
    assert result.lines()[-1] == f"first wrong line: {result.first_wrong}"


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_renaming_of_the_classes_is_found(data):
    language = load_language(data.draw(st.sampled_from(LANGUAGES.own_names())))
    letters = list(map("".join, product("abcdefghijklwxyz", repeat=2)))[-len(language.classes) :]
    corpus = corpus_of(language)
    found = {label for part in corpus.parts.values() for target in part.targets for label in target}
    names = dict(zip(language.classes, data.draw(st.permutations(letters)), strict=False))
    parts = {
        name: replace(part, targets=tuple(tuple(names[label] for label in target) for target in part.targets))
        for name, part in corpus.parts.items()
    }
    result = audit_corpus(replace(corpus, parts=parts), language)
    assert result.ok
    assert {name: to for name, to in result.naming.items() if name in found} == {name: names[name] for name in found}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_changed_label_is_found_at_its_line(data):
    language = load_language(data.draw(st.sampled_from(LANGUAGES.own_names())))
    corpus = corpus_of(language)
    part = corpus.parts[data.draw(st.sampled_from(sorted(corpus.parts)))]
    line = data.draw(st.sampled_from([i for i, string in enumerate(part.strings) if string]))
    right = part.targets[line]
    place = data.draw(st.integers(0, len(right) - 1))
    everywhere = [label for each in corpus.parts.values() for target in each.targets for label in target]
    assume(everywhere.count(right[place]) > 2)  # a label that is seen once could have another name
    label = data.draw(st.sampled_from([name for name in language.classes if name != right[place]]))
    wrong = (*right[:place], label, *right[place + 1 :])
    targets = (*part.targets[:line], wrong, *part.targets[line + 1 :])
    result = audit_corpus(replace(corpus, parts={**corpus.parts, part.name: replace(part, targets=targets)}), language)
    assert not result.ok
    assert result.wrong == 1
    assert result.first_wrong is not None
    assert (result.first_wrong.file, result.first_wrong.line) == (part.target, line + 1)
    assert result.first_wrong.string == part.strings[line]
    assert result.first_wrong.expected == " ".join(right)
    assert result.first_wrong.found == " ".join(wrong)


@pytest.mark.parametrize("target", ["10", "10111", ""])
def test_a_target_of_another_length_is_wrong(tmp_path, target):
    write_files(tmp_path, train_src__txt="0110\n11\n", train_tgt__txt=f"{target}\n01\n")
    result = audit(tmp_path, load_language("parity"))
    assert result.first_wrong is not None
    assert (result.first_wrong.line, result.first_wrong.expected) == (1, "1 0 1 1")


def test_a_symbol_outside_the_alphabet_is_an_error_of_the_source_file(tmp_path):
    write_files(tmp_path, train_src__txt="0110\n1x\n", train_tgt__txt="1011\n00\n")
    result = audit(tmp_path, load_language("parity"))
    assert result.first_wrong is not None
    assert (result.first_wrong.file, result.first_wrong.line) == ("train_src.txt", 2)
    assert "'x' at position 2" in result.first_wrong.expected


def test_strings_outside_the_language_are_counted_but_are_no_label_errors(tmp_path):
    write_files(tmp_path, train_src__txt="01\n11\n", train_tgt__txt="10\n01\n")
    result = audit(tmp_path, load_language("parity"))
    assert result.ok
    assert result.parts[0].non_members == 1


def test_distinct_strings_and_overlap_are_counted(tmp_path):
    write_files(tmp_path, train_src__txt="aa\naa\naaaa\n", train_tgt__txt="01\n01\n0101\n")
    write_files(tmp_path, val_src_bin0__txt="aa\naaaaaa\n", val_tgt_bin0__txt="01\n010101\n")
    train, bin0 = (part.summary for part in audit(tmp_path, load_language("aa_star")).parts)
    assert (train.strings, train.distinct, train.shortest, train.longest) == (3, 2, 2, 4)
    assert (bin0.strings, bin0.distinct, bin0.in_train, bin0.longest) == (2, 2, 1, 6)


def test_a_file_without_its_counterpart_is_reported(tmp_path):
    write_files(
        tmp_path,
        train_src__txt="aa\n",
        train_tgt__txt="01\n",
        val_tgt_bin2__txt="01\n",
        val_src_bin3__txt="aa\n",
    )
    result = audit(tmp_path, load_language("aa_star"))
    assert result.ok
    assert result.words == 1
    assert result.orphans == ("val_tgt_bin2.txt", "val_src_bin3.txt")
    assert "val_tgt_bin2.txt: ignored, the other file of the pair is missing" in result.lines()


def test_a_corpus_with_wrong_labels_is_not_trained_on(tmp_path):
    write_files(tmp_path, train_src__txt="0110\n11\n", train_tgt__txt="1011\n00\n")
    with pytest.raises(UserError, match=r"train_tgt\.txt line 2: 11: expected 0 1, found 0 0"):
        datasets(read(tmp_path), load_language("parity"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no corpus"),
        ({"notes__txt": "aa\n"}, "holds no corpus"),
        ({"train_src__txt": "aa\n"}, r"only train_src\.txt"),
        ({"train_src__txt": "aa\naa\n", "train_tgt__txt": "01\n"}, "has 2 lines, train_tgt.txt has 1"),
        ({"train_src__txt": "", "train_tgt__txt": ""}, "has no words"),
        ({"train_src__txt": "", "train_50__src": ""}, "both formats"),
        ({"train_50__src": "a ab\n", "train_50__tgt": "0 1\n"}, r"train_50\.src line 1: symbols are single"),
        ({"train__src": "a\n", "train_50__src": "a\n"}, r"are both train"),
    ],
)
def test_folders_without_a_valid_corpus_are_refused_in_one_line(tmp_path, files, message):
    write_files(tmp_path, **files)
    with pytest.raises(UserError, match=message) as caught:
        audit(tmp_path, load_language("aa_star"))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        read(tmp_path / "nowhere")
    write_files(tmp_path, train_tgt__txt="01\n")
    (tmp_path / "train_src.txt").write_bytes(b"a\xffa\n")
    with pytest.raises(UserError, match=r"train_src\.txt is not UTF-8 text: byte 1"):
        read(tmp_path)
    (tmp_path / "train_src.txt").unlink()
    (tmp_path / "train_src.txt").mkdir()
    with pytest.raises(UserError, match=r"train_src\.txt cannot be read: Is a directory"):
        read(tmp_path)


def test_writing_refuses_unknown_formats_and_full_folders(tmp_path):
    corpus = corpus_of(load_language("parity"))
    with pytest.raises(UserError, match="choose from: bhattamishra, irie"):
        write(corpus, tmp_path / "corpus", "csv")
    (tmp_path / "mine").write_text("kept")
    for folder in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match="exists already"):
            write(corpus, folder, "irie")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    part = replace(corpus.parts["train"], strings=("01",), targets=(("even", "odd"),))
    with pytest.raises(UserError, match="labels of equal length"):
        write(Corpus("irie", {"train": part}), tmp_path / "corpus", "bhattamishra")


def test_a_corpus_can_be_written_into_an_empty_folder(tmp_path):
    (tmp_path / "corpus").mkdir()
    write(corpus_of(load_language("parity")), tmp_path / "corpus", "irie")
    assert audit(tmp_path / "corpus", load_language("parity")).ok


def test_a_failed_write_leaves_no_files(tmp_path, monkeypatch):
    written = []

    def fails_on_the_third(self: Path, text: str, **options: str) -> int:
        if len(written) == 2:
            raise OSError("no space left")
        written.append(self)
        self.touch()
        return len(text)

    monkeypatch.setattr(Path, "write_text", fails_on_the_third)
    with pytest.raises(UserError, match="no space left"):
        write(corpus_of(load_language("parity")), tmp_path / "new" / "corpus", "irie")
    assert len(written) == 2
    assert list((tmp_path / "new").iterdir()) == []


def test_the_folder_of_a_corpus_has_the_usual_permissions(tmp_path):
    write(corpus_of(load_language("parity")), tmp_path / "corpus", "irie")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "corpus").stat().st_mode == (tmp_path / "plain").stat().st_mode


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("01", max_size=6), min_size=1, max_size=8))
def test_any_strings_are_read_back_unchanged_from_both_formats(strings):
    language = load_language("parity")
    with tempfile.TemporaryDirectory() as folder:
        for format in FORMATS:
            corpus = make_corpus(language, {"train": encode(language, strings)}, format)
            write(corpus, Path(folder) / format, format)
            assert read(Path(folder) / format, language) == corpus


def test_a_corpus_with_an_empty_part_is_not_imported(tmp_path, home):
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_files(
        folder, train_src__txt="0110\n", train_tgt__txt="1011\n", val_src_bin0__txt="11\n", val_tgt_bin0__txt="01\n"
    )
    write_files(folder, val_src_bin1__txt="", val_tgt_bin1__txt="")
    with pytest.raises(UserError, match=r"part 'bin1' of .* has no strings"):
        import_corpus(folder, load_language("parity"), "mine")
    assert not list(home.glob("**/mine*"))


@pytest.mark.parametrize(
    ("format", "symbol"), [("irie", " "), ("irie", "\u2003"), ("irie", "\n"), ("bhattamishra", "\n")]
)
def test_a_symbol_that_would_not_be_read_back_is_not_written(tmp_path: Path, format: str, symbol: str) -> None:
    part = corpus_of(load_language("parity")).parts["train"]
    for broken in (
        replace(part, strings=(f"0{symbol}1", *part.strings[1:])),
        replace(part, targets=((symbol, "0"), *part.targets[1:])),
    ):
        with pytest.raises(UserError, match="cannot be written as a symbol of this format"):
            write(Corpus(format, {"train": broken}), tmp_path / "new", format)
    assert not any(tmp_path.iterdir())


def test_a_blank_may_be_a_symbol_where_nothing_separates_symbols(tmp_path: Path) -> None:
    part = corpus_of(load_language("parity")).parts["train"]
    blank = replace(part, strings=tuple(string.replace("0", " ") for string in part.strings))
    write(Corpus("bhattamishra", {"train": blank}), tmp_path / "new", "bhattamishra")
    assert read(tmp_path / "new").parts["train"].strings == blank.strings


def test_test_strings_that_are_in_an_imported_corpus_are_counted_and_not_called_fresh(tmp_path: Path) -> None:
    """The corpus was drawn by another rule: its bins have some of the strings that are drawn for the tests."""
    language, windows = load_language("parity"), ((2, 6), (30, 34))
    spec = SplitSpec(train_lengths=(2, 6), longer_lengths=(7, 9), train_strings=30, validation_strings=30,
                     test_lengths=windows, test_strings=10)  # fmt: skip
    own = make_splits(language, spec)
    strange = {"train": own.train, "bin0": own.tests[windows[0]], "bin1": own.bin1}
    write(make_corpus(language, strange), tmp_path / "corpus", "bhattamishra")
    reference, _ = import_corpus(tmp_path / "corpus", language, "strange")
    run = Run("parity", mixer("lstm"), model=ModelSpec(hidden=4, layers=1), corpus=reference)
    run = replace(run, protocol=replace(run.protocol, max_steps=1, splits=spec))
    record = train(run)
    counts = {(part.shortest, part.longest): part.in_train for part in record.splits if part.split == "test"}
    assert counts == {windows[0]: len(own.tests[windows[0]]), windows[1]: 0}
    assert [is_fresh(record, window) for window in windows] == [False, True]
    assert train(replace(run, corpus=None)).splits[-1].in_train == 0
