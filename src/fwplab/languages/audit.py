"""Checks every label of a corpus against the language itself."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fwplab.errors import UserError
from fwplab.languages.corpus import Corpus, Part, Target, read
from fwplab.languages.dataset import Dataset, encode
from fwplab.languages.language import Language
from fwplab.languages.splits import SplitSummary, summarise


@dataclass(frozen=True)
class WrongLine:
    """The first line that does not hold, with labels as the corpus names them."""

    file: str
    line: int
    string: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.string}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class PartAudit:
    """What one pair of files holds. `non_members` counts strings that are no words of the language."""

    summary: SplitSummary
    non_members: int
    wrong: int


@dataclass(frozen=True)
class Audit:
    """The outcome. `naming` gives each class of the language the name it has in the corpus, one to one."""

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
        """The classes whose name in the corpus is another than the language's."""
        return {ours: theirs for ours, theirs in self.naming.items() if ours != theirs}

    def lines(self) -> list[str]:
        """The outcome in words, a line for each thing."""
        lines = [f"{self.words} words ({self.positions} positions) checked, {self.wrong} with label errors"]
        for part in self.parts:
            counts = part.summary
            lines.append(
                f"{counts.split}: {counts.strings} strings, {counts.distinct} distinct, "
                f"{counts.in_train} of them in train, "
                f"lengths {counts.shortest}-{counts.longest}, {part.non_members} non-members"
            )
        if self.renamed:
            names = ", ".join(f"{ours} is written {theirs}" for ours, theirs in self.renamed.items())
            lines.append(f"label classes have other names: {names}")
        lines += [f"{name}: no counterpart, left out" for name in self.orphans]
        if self.first_wrong is not None:
            lines.append(f"first wrong line: {self.first_wrong}")
        return lines


def audit(folder: Path, language: Language) -> Audit:
    """Reads the corpus in `folder` and checks it; `UserError` for one that cannot be read or has no words."""
    return audit_corpus(read(folder, language), language)


def audit_corpus(corpus: Corpus, language: Language) -> Audit:
    """Checks every target against the labels of the language, up to one renaming of the classes for all.

    The renaming is the one that explains the most positions, and the language's own names where that leaves a
    choice. Strings that the language cannot label (foreign symbols) are wrong, mere non-members are counted.
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
    """The parts of a corpus for training, with its own targets; `UserError` if the audit finds one wrong."""
    result = audit_corpus(corpus, language)
    if result.first_wrong is not None:
        raise UserError(f"the corpus has wrong labels, {result.first_wrong}")
    ours = {theirs: name for name, theirs in result.naming.items()}
    return {
        name: encode(language, part.strings, [[ours[label] for label in target] for target in part.targets])
        for name, part in corpus.parts.items()
    }


def _labels(language: Language, string: str) -> Target | UserError:
    """The language's labels, or why it has none."""
    try:
        return tuple(language.targets(string))
    except UserError as error:
        return error


def _naming(language: Language, corpus: Corpus, oracle: dict[str, list[Target | UserError]]) -> dict[str, str]:
    """The one-to-one naming of classes that agrees with the most positions, the commonest pairs first."""
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
    return {ours: naming[ours] for ours in language.classes if ours in naming}


def _renamed(labels: Target, naming: dict[str, str]) -> Target:
    return tuple(naming.get(label, label) for label in labels)


def _wrong_line(part: Part, line: int, expected: Target | UserError, naming: dict[str, str]) -> WrongLine:
    """The line as a report has it; a string without labels is a fault of the source, not of the target."""
    found = " ".join(part.targets[line])
    if isinstance(expected, UserError):
        return WrongLine(part.source, line + 1, part.strings[line], f"a string of the language ({expected})", found)
    return WrongLine(part.target, line + 1, part.strings[line], " ".join(_renamed(expected, naming)), found)
