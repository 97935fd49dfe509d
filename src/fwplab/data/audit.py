"""Checks every label of a corpus against the labels that the language gives."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fwplab.data.corpus import Corpus, Part, Target, read
from fwplab.data.dataset import Dataset, encode
from fwplab.data.splits import SplitSummary, summarise
from fwplab.errors import UserError
from fwplab.languages.language import Language


@dataclass(frozen=True)
class WrongLine:
    """The first line with a wrong label. Labels have their names in the corpus; lines are counted from 1."""

    file: str
    line: int
    string: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.string}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class PartAudit:
    """The result for one pair of files.

    - `summary`: its numbers of strings, and their lengths.
    - `non_members`: the number of strings that are no words of the language.
    - `wrong`: the number of strings with a wrong label.
    """

    summary: SplitSummary
    non_members: int
    wrong: int


@dataclass(frozen=True)
class Audit:
    """The result for a corpus.

    - `language`, `format`: their names.
    - `words`, `positions`: the numbers of strings and of labels that were checked.
    - `naming`: the name in the corpus of each class of the language, one to one.
    - `parts`: the result for each part.
    - `orphans`: the files without a counterpart.
    - `first_wrong`: the first wrong line; None if all labels are right.
    """

    language: str
    format: str
    words: int
    positions: int
    naming: dict[str, str]
    parts: tuple[PartAudit, ...]
    orphans: tuple[str, ...]
    first_wrong: WrongLine | None

    @property
    def ok(self) -> bool:
        """Whether every label is right."""
        return self.first_wrong is None

    @property
    def wrong(self) -> int:
        """The number of words with a wrong label."""
        return sum(part.wrong for part in self.parts)

    @property
    def renamed(self) -> dict[str, str]:
        """The classes whose name in the corpus differs from the language's name."""
        return {ours: theirs for ours, theirs in self.naming.items() if ours != theirs}

    def lines(self) -> list[str]:
        """The result as lines of text."""
        lines = [f"{self.words} words ({self.positions} positions) checked, {self.wrong} with label errors"]
        for part in self.parts:
            counts = part.summary
            lines.append(
                f"{counts.split}: {counts.strings} strings, {counts.distinct} distinct, "
                f"{counts.in_train} of them in train, "
                f"lengths {counts.shortest}-{counts.longest}, {part.non_members} non-members"
            )
        if self.renamed:
            names = ", ".join(f"{ours} is called {theirs}" for ours, theirs in self.renamed.items())
            lines.append(f"label classes have other names in the corpus: {names}")
        lines += [f"{name}: ignored, the other file of the pair is missing" for name in self.orphans]
        if self.first_wrong is not None:
            lines.append(f"first wrong line: {self.first_wrong}")
        return lines


def audit(folder: Path, language: Language) -> Audit:
    """Reads the corpus in `folder` and checks it. Raises `UserError` if it cannot be read or has no words."""
    return audit_corpus(read(folder, language), language)


def audit_corpus(corpus: Corpus, language: Language) -> Audit:
    """Checks every target against the labels of the language.

    The corpus may have other names for the classes. One renaming holds for the whole corpus: the one that agrees with
    the most positions. Ties go to the language's own names. A string that the language cannot label, for example one
    with an unknown symbol, counts as wrong. A string that is no word is not wrong; its number is reported.

    Raises `UserError` if the corpus has no words.
    """
    words = sum(len(part.strings) for part in corpus.parts.values())
    if not words:
        raise UserError("the corpus has no words; choose another folder")
    oracle = {name: [_labels(language, string) for string in part.strings] for name, part in corpus.parts.items()}
    naming = _naming(language, corpus, oracle)
    train = corpus.parts["train"].strings if "train" in corpus.parts else ()
    parts, first = [], None
    for name, part in sorted(corpus.parts.items(), key=lambda item: (item[0] != "train", item[0])):
        wrong = [
            _wrong_line(part, line, expected, naming)
            for line, expected in enumerate(oracle[name])
            if isinstance(expected, UserError) or _renamed(expected, naming) != part.targets[line]
        ]
        first = first or next(iter(wrong), None)
        outside = sum(not language.contains(string) for string in part.strings)
        parts.append(PartAudit(summarise(name, part.strings, train), outside, len(wrong)))
    positions = sum(language.asked(len(string)) for part in corpus.parts.values() for string in part.strings)
    return Audit(language.name, corpus.format, words, positions, naming, tuple(parts), corpus.orphans, first)


def datasets(corpus: Corpus, language: Language) -> dict[str, Dataset]:
    """The parts of a corpus as data sets, with the targets of the corpus. Raises `UserError` if a target is wrong."""
    result = audit_corpus(corpus, language)
    if result.first_wrong is not None:
        raise UserError(f"the corpus has wrong labels, {result.first_wrong}")
    ours = {theirs: name for name, theirs in result.naming.items()}
    return {
        name: encode(language, part.strings, [[ours[label] for label in target] for target in part.targets])
        for name, part in corpus.parts.items()
    }


def _labels(language: Language, string: str) -> Target | UserError:
    """The language's labels, or the error that says why there are none."""
    try:
        return tuple(language.targets(string))
    except UserError as error:
        return error


def _naming(language: Language, corpus: Corpus, oracle: dict[str, list[Target | UserError]]) -> dict[str, str]:
    """The one-to-one naming of all classes, chosen greedily: the most frequent pairs first.

    A class whose labels all have the name of another class gets an unused name, so that its labels are wrong.
    """
    seen: Counter[tuple[str, str]] = Counter()
    for name, part in corpus.parts.items():
        for expected, found in zip(oracle[name], part.targets, strict=True):
            if not isinstance(expected, UserError) and len(expected) == len(found):
                seen.update(zip(expected, found, strict=True))
    seen.update({(ours, ours): 0 for ours in language.classes})  # classes that do not occur keep their names
    naming: dict[str, str] = {}
    for ours, theirs in sorted(seen, key=lambda pair: (-seen[pair], pair[0] != pair[1], pair)):
        if ours not in naming and theirs not in naming.values():
            naming[ours] = theirs
    unused = [name for name in language.classes if name not in naming.values()]
    naming |= zip((ours for ours in language.classes if ours not in naming), unused, strict=False)
    return {ours: naming[ours] for ours in language.classes}


def _renamed(labels: Target, naming: dict[str, str]) -> Target:
    return tuple(naming.get(label, label) for label in labels)


def _wrong_line(part: Part, line: int, expected: Target | UserError, naming: dict[str, str]) -> WrongLine:
    """The line for the report. If the language cannot label the string, the error is in the source file."""
    found = " ".join(part.targets[line])
    if isinstance(expected, UserError):
        return WrongLine(part.source, line + 1, part.strings[line], f"a string of the language ({expected})", found)
    return WrongLine(part.target, line + 1, part.strings[line], " ".join(_renamed(expected, naming)), found)
