"""Corpora of others in both file formats."""

from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st
from tests.fuzz.command import command
from tests.fuzz.door import Door
from tests.fuzz.values import damaged, words

from fwplab.data.corpus import FORMATS
from fwplab.languages import load_language

PARTS = ("train", "bin0", "bin1")
LANGUAGES = ("parity", "dyck_1", "counter_2")
STRANGE = (
    b"\xff\xfe0\x000\x00",
    b"\xef\xbb\xbf",
    b"\r\n\r\n",
    b"\r",
    b"\x00\n",
    b"0" * 70_000 + b"\n",
    b"\xe2\x80\xa8\n",
    b"\x1b[2J\n",
)
NAMES = (
    "._train_src.txt", ".hidden.src", "val_src_bin0.txt", "val_src_bin7.txt", "train_src_bin0.txt", "valid_50.src",
    "a\nb.src", "_src.txt", "SHA256SUMS", "x" * 200 + ".tgt",
)  # fmt: skip


class Files(NamedTuple):
    """A corpus: its language, the contents of its files by name, and the name to import it under."""

    language: str
    contents: dict[str, bytes]
    folders: tuple[str, ...]
    name: str


@st.composite
def corpora(draw: st.DrawFn) -> Files:
    """A corpus with right labels and some damage."""
    name, kind = draw(st.sampled_from(LANGUAGES)), FORMATS[draw(st.sampled_from(sorted(FORMATS)))]
    language, contents = load_language(name), dict[str, bytes]()
    strings = st.text(st.sampled_from(language.symbols), max_size=12)
    for part in PARTS:
        rows = draw(st.lists(strings, max_size=4))
        labels = [_labels(name, string) for string in rows]
        for side, lines in (("src", rows), ("tgt", labels)):
            text = "".join(kind.separator.join(line) + "\n" for line in lines)
            contents[kind.file_name(part, side)] = text.encode()
    for _ in range(draw(st.integers(0, 3))):
        which = draw(st.sampled_from(sorted(contents) or ["train_src.txt"]))
        change = draw(st.sampled_from(("damage", "strange", "prefix", "remove", "move", "add")))
        old = contents.get(which, b"")
        if change == "damage":
            contents[which] = draw(damaged(old))
        elif change == "strange":
            contents[which] = old + draw(st.sampled_from(STRANGE))
        elif change == "prefix":
            contents[which] = draw(st.sampled_from(STRANGE)) + old
        elif change == "remove":
            contents.pop(which, None)
        else:
            contents[draw(st.sampled_from(NAMES))] = contents.pop(which, b"") if change == "move" else old
    folders = draw(st.sampled_from(((), (), (), ("train_src.txt",), ("sub.src", "x"))))
    return Files(name, contents, folders, draw(st.just("new") | st.just("new") | words))


def _labels(name: str, string: str) -> list[str]:
    """The labels of the string as far as it goes; the others are wrong."""
    language, labels, state = load_language(name), [], load_language(name).start
    for symbol in string:
        state = language.step(state, symbol)
        labels.append(language.label(state) or language.classes[0])
    return labels


def _written(case: Files, folder: Path) -> Path:
    place = folder / "corpus"
    place.mkdir()
    for name in case.folders:
        (place / name).mkdir()
    for name, content in case.contents.items():
        if name not in case.folders:
            (place / name).write_bytes(content)
    return place


def audit_corpus(case: Files, folder: Path) -> None:
    """`fwplab corpus audit`."""
    command(["corpus", "audit", str(_written(case, folder)), "--language", case.language])


def import_corpus(case: Files, folder: Path) -> None:
    """`fwplab corpus import`, twice: what is stored is read back."""
    place = str(_written(case, folder))
    for _ in range(2):
        command(["corpus", "import", place, "--language", case.language, "--name", case.name])


DOORS = (
    Door("corpus audit", corpora(), audit_corpus, 5_000, 20),
    Door("corpus import", corpora(), import_corpus, 2_000, 10),
)
