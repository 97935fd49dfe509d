"""Published corpora that are imported under a name. A run can train on one instead of on generated strings."""

import dataclasses
import hashlib
import re
from pathlib import Path

from fwplab.data.audit import Audit, audit_corpus, datasets
from fwplab.data.corpus import Corpus, make_corpus, read, write
from fwplab.data.splits import Splits, SplitSpec, make_splits
from fwplab.data.tasks import for_task
from fwplab.errors import UserError
from fwplab.files import check_checksums, home
from fwplab.languages import Language

DIGEST_DIGITS = 16


def import_corpus(folder: Path, language: Language, name: str) -> tuple[str, Audit]:
    """Audits the corpus in `folder` and stores it under `name`, with the language's own class names.

    Returns the reference `name@digest` for `Run.corpus`, and the audit. Raises `UserError` if labels are wrong, if a
    part is empty, if the training set or one of the two validation bins is missing, or if `name` already has other
    contents.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"a corpus name has letters, digits, '.', '_' and '-' alone, not {name!r}")
    corpus = read(folder, language)
    result = audit_corpus(corpus, language)
    parts = datasets(corpus, language)
    if missing := [part for part in ("train", "bin0", "bin1") if part not in parts]:
        raise UserError(f"{folder} has no part {missing[0]!r}; it has: {', '.join(parts)}")
    if empty := [part for part, data in parts.items() if not len(data)]:
        raise UserError(f"part {empty[0]!r} of {folder} has no strings; choose a corpus with strings in every part")
    imported = make_corpus(language, parts)
    target = _folder(name)
    if not target.exists():
        write(imported, target, "bhattamishra", checksums=True)
    elif _digest(_stored(name, language)) != _digest(imported):
        raise UserError(f"corpus {name!r} exists with other contents; choose another name")
    return f"{name}@{_digest(imported)}", result


def reference(name: str, language: Language) -> str:
    """The reference `name@digest` of an imported corpus.

    Raises `UserError` for an unknown name and lists the imported ones.
    """
    names = sorted(path.name for path in _folder("").glob("[!.]*"))
    if name not in names:
        raise UserError(f"unknown corpus {name!r}; choose from: {', '.join(names) or 'none is imported yet'}")
    return f"{name}@{_digest(_stored(name, language))}"


def corpus_splits(reference: str, language: Language, spec: SplitSpec) -> Splits:
    """The splits of a run on an imported corpus: its training set and bins, and generated test strings.

    reference: `name@digest`, from `import_corpus` or `reference`.
    language: the language of the corpus.
    spec: the sizes, lengths and seed of the test strings.

    Raises `UserError` if the corpus is not imported, or if its contents have another digest.
    """
    name, _, digest = reference.partition("@")
    if not _folder(name).exists():
        raise UserError(
            f"the corpus {name!r} of this run is not imported here: fwplab corpus import FOLDER --name {name}"
        )
    language = for_task(language, spec.task)
    corpus = _stored(name, language)
    if _digest(corpus) != digest:
        raise UserError(f"the imported corpus {name!r} is not the one of this run ({digest}); import it again")
    parts = datasets(corpus, language)
    generated = make_splits(language, dataclasses.replace(spec, train_strings=1, validation_strings=1))
    return Splits(parts["train"], parts["bin0"], parts["bin1"], generated.tests)


def _folder(name: str) -> Path:
    return home() / "corpora" / name


def _stored(name: str, language: Language) -> Corpus:
    """The corpus that was imported under `name`. Raises `UserError` if its files have changed since."""
    folder = _folder(name)
    check_checksums(folder, [path.name for path in sorted(folder.glob("*.txt"))])
    return read(folder, language)


def _digest(corpus: Corpus) -> str:
    text = hashlib.sha256()
    for name in ("train", "bin0", "bin1"):
        part = corpus.parts[name]
        for string, target in zip(part.strings, part.targets, strict=True):
            text.update(f"{name}\t{string}\t{' '.join(target)}\n".encode())
    return text.hexdigest()[:DIGEST_DIGITS]
