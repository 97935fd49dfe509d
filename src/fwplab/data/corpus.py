"""Reads and writes corpora in the two published file formats.

- `bhattamishra` (arXiv 2009.11264): `train_src.txt`, `train_tgt.txt`, `val_src_bin0.txt`, ... One string per
  line, one character per symbol. All labels have the same number of characters.
- `irie` (arXiv 2310.16076): `train_50.src`, `train_50.tgt`, `valid_50.*`, `test_50.*`. One string per line,
  with blanks between the symbols.

For the task "recognition" (see `tasks`) a target line is one label for the whole string.

A part of a corpus is a pair of such files: `train`, `bin0` (`valid_50`) or `bin1` (`test_50`). Other parts
have the name of their files, `NAME_src.txt` or `NAME.src`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fwplab.data.dataset import Dataset
from fwplab.errors import UserError
from fwplab.files import sync, temporary_folder, write_checksums, writes_to
from fwplab.languages.language import LONGEST, Language

Target = tuple[str, ...]  # the labels of the labelled positions of a string


@dataclass(frozen=True)
class Part:
    """One pair of files. Line n of the files is `strings[n - 1]` and `targets[n - 1]`.

    `source` and `target` are the file names.
    """

    name: str
    source: str
    target: str
    strings: tuple[str, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Corpus:
    """The parts of a corpus by name. `orphans`: the files without a counterpart."""

    format: str
    parts: dict[str, Part]
    orphans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """The file names of a format, and how its lines are split into symbols."""

    pattern: re.Pattern[str]  # of a file name; groups: stem, side (src or tgt), suffix
    part_name: Callable[[str, str], str]  # (stem, suffix) -> name of the part
    file_name: Callable[[str, str], str]  # (name of the part, side) -> file name
    split: Callable[[str, int], Target]  # (line, characters per symbol) -> symbols
    separator: str


_IRIE_STEMS = {"train_50": "train", "valid_50": "bin0", "test_50": "bin1"}
_IRIE_NAMES = {name: stem for stem, name in _IRIE_STEMS.items()}


def _bhattamishra_file(name: str, side: str) -> str:
    return f"val_{side}_{name}.txt" if re.fullmatch(r"bin\d+", name) else f"{name}_{side}.txt"


def _bhattamishra_split(line: str, width: int) -> Target:
    return tuple(line[place : place + width] for place in range(0, len(line), width))


FORMATS = {
    "bhattamishra": Format(
        pattern=re.compile(r"(.+)_(src|tgt)(?:_(bin\d+))?\.txt"),
        part_name=lambda stem, bin_name: bin_name if stem == "val" and bin_name else stem + bin_name,
        file_name=_bhattamishra_file,
        split=_bhattamishra_split,
        separator="",
    ),
    "irie": Format(
        pattern=re.compile(r"(.+)\.(src|tgt)()"),
        part_name=lambda stem, _: _IRIE_STEMS.get(stem, stem),
        file_name=lambda name, side: f"{_IRIE_NAMES.get(name, name)}.{side}",
        split=lambda line, width: tuple(line.split()),
        separator=" ",
    ),
}


def make_corpus(language: Language, sets: dict[str, Dataset], format: str = "bhattamishra") -> Corpus:
    """Makes a corpus of data sets. `sets`: the data sets by the name of the part, for example `Splits.named()`."""
    names = _format(format).file_name
    parts = {}
    for name, data in sets.items():
        rows = zip(data.labels, data.lengths.tolist(), strict=True)
        asked = (row[size - language.asked(size) : size].tolist() for row, size in rows)
        targets = tuple(tuple(language.classes[label] for label in labels) for labels in asked)
        parts[name] = Part(name, names(name, "src"), names(name, "tgt"), data.strings, targets)
    return Corpus(format, parts)


def read(folder: Path, language: Language | None = None) -> Corpus:
    """Reads the corpus in `folder`, in either format. It does not check the labels: `fwplab.data.audit` does.

    `language` determines the number of characters of a label. Without it the number follows from the file sizes.
    Raises `UserError` if the folder holds no corpus, if a file is not UTF-8 text, or if the two files of a part have
    different numbers of lines.
    """
    format, files = _files(Path(folder))
    parts: dict[str, Part] = {}
    orphans: list[str] = []
    for name, sides in sorted(files.items()):
        if len(sides) == 2:
            parts[name] = _read_part(FORMATS[format], name, sides["src"], sides["tgt"], language)
        else:
            orphans.extend(path.name for path in sides.values())
    if not parts:
        raise UserError(f"{folder} has no pair of source and target files, only {', '.join(orphans)}")
    return Corpus(format, parts, tuple(orphans))


def write(corpus: Corpus, folder: Path, format: str, *, checksums: bool = False) -> None:
    """Writes all parts into a new folder. The operation is atomic: all files appear, or none.

    checksums: also write a file with the checksums of the others.

    Raises `UserError` for an unknown format, for a folder that is not empty, and for labels of different lengths if
    the format has no separator between labels.
    """
    kind = _format(format)
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; choose a new folder or an empty one")
    widths = {len(label) for part in corpus.parts.values() for target in part.targets for label in target}
    if not kind.separator and len(widths) > 1:
        raise UserError(f"format {format!r} needs labels of equal length; choose from: irie")
    _check_symbols(corpus, kind)
    with writes_to(folder), temporary_folder(folder) as scratch:
        whole = scratch / folder.name
        whole.mkdir()
        for name, part in corpus.parts.items():
            _write_lines(whole / kind.file_name(name, "src"), part.strings, kind.separator)
            _write_lines(whole / kind.file_name(name, "tgt"), part.targets, kind.separator)
        if checksums:
            write_checksums(whole, [path.name for path in whole.iterdir()])
        sync(whole)
        whole.rename(folder)
        sync(folder.parent)


def _check_symbols(corpus: Corpus, kind: Format) -> None:
    """Raises `UserError` for a symbol or a label that would be read back as another one."""
    rows = [row for part in corpus.parts.values() for row in (*part.strings, *part.targets)]
    for symbol in sorted(set().union(*rows)):
        line = kind.separator.join((symbol, symbol))
        if kind.split(line, len(symbol)) != (symbol, symbol) or {"\n", "\r", "\ufeff"} & set(symbol):
            raise UserError(
                f"{symbol!r} cannot be written as a symbol of this format: it would not be read back; choose symbols "
                f"without line breaks, and for the format 'irie' without blanks"
            )


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise UserError(f"unknown corpus format {name!r}; choose from: {', '.join(FORMATS)}")
    return FORMATS[name]


def _files(folder: Path) -> tuple[str, dict[str, dict[str, Path]]]:
    """The format of a folder, and its files by part and side."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; choose one with train_src.txt or train_50.src in it")
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # such as ._train_src.txt, which copies from a Mac have
            continue
        for format, kind in FORMATS.items():
            match = kind.pattern.fullmatch(path.name)
            if match:
                name = kind.part_name(match[1], match[3] or "")
                sides = found.setdefault(format, {}).setdefault(name, {})
                if match[2] in sides:
                    raise UserError(f"{folder}: {sides[match[2]].name} and {path.name} are both {name}; keep one")
                sides[match[2]] = path
    if len(found) != 1:
        state = "files of both formats" if found else "no corpus"
        raise UserError(f"{folder} holds {state}; choose a folder with train_src.txt ... or train_50.src ...")
    return next(iter(found.items()))


def _read_part(kind: Format, name: str, source: Path, target: Path, language: Language | None) -> Part:
    sources, targets = _lines(source), _lines(target)
    if len(sources) != len(targets):
        raise UserError(f"{source.name} has {len(sources)} lines, {target.name} has {len(targets)}")
    strings = []
    for number, line in enumerate(sources, start=1):
        symbols = kind.split(line, 1)
        if any(len(symbol) != 1 for symbol in symbols):
            raise UserError(f"{source.name} line {number}: symbols are single characters with blanks between")
        strings.append("".join(symbols))
    if language is not None:
        width = len(language.classes[0])
    else:
        width = max(1, round(sum(map(len, targets)) / max(1, sum(map(len, sources)))))
    labels = tuple(kind.split(line, width) for line in targets)
    return Part(name, source.name, target.name, tuple(strings), labels)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not UTF-8 text: byte {error.start} cannot be read") from error
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}") from error
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if len(line) > 2 * LONGEST:  # one format has a blank beside every symbol
            raise UserError(f"{path.name} line {number} has {len(line):,} characters; a string has at most {LONGEST:,}")
    return lines[:-1] if lines[-1] == "" else lines  # the last line may end without a newline


def _write_lines(path: Path, rows: Sequence[Sequence[str]], separator: str) -> None:
    path.write_text("".join(separator.join(row) + "\n" for row in rows), encoding="utf-8", newline="\n")
    sync(path)
