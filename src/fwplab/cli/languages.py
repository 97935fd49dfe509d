"""`fwplab languages`: the rules, words and labels of the formal languages."""

import inspect
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from fwplab.cli.console import emit, listed, seeded
from fwplab.errors import UserError, shown
from fwplab.languages import END, LANGUAGES, Regular, load_language, short_name

MOST_SYMBOLS = 10_000_000
MOST_SHOWN = 8
"""The most symbols of an alphabet that the list shows."""


def _facts(name: str) -> dict[str, Any]:
    found = load_language(name)
    return {"name": found.name, "symbols": found.symbols, "classes": found.classes, "hierarchy": found.hierarchy}


def _few(names: tuple[str, ...]) -> str:
    """The names, or the first of many and how many there are."""
    shown_names = names if len(names) <= MOST_SHOWN else (*names[:MOST_SHOWN], "...", f"({len(names)})")
    return escape(" ".join(shown_names))


@dataclass(frozen=True)
class ListLanguages:
    """Lists all languages, with their alphabets and their classes in the Chomsky hierarchy."""

    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        facts = listed(LANGUAGES, _facts)
        table = Table("language", "alphabet", "label classes", "class in the hierarchy", box=None)
        for fact in facts:
            table.add_row(fact["name"], _few(fact["symbols"]), _few(fact["classes"]), fact["hierarchy"])
        emit(facts, as_json=self.json, text=table)
        return 0


@dataclass(frozen=True)
class ShowLanguage:
    """Shows the rule of one language, with examples."""

    name: Positional[str]
    """Name of a language (fwplab languages), or a definition such as "regex:(ab|ba)*"."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        language = load_language(self.name)
        text = inspect.getdoc(type(language)) or ""
        facts = {
            "name": language.name,
            "rule": text,
            "symbols": language.symbols,
            "classes": language.classes,
            "hierarchy": language.hierarchy,
        }
        facing = f"{language.name}: {language.hierarchy}\nalphabet: {' '.join(language.symbols)}\n\n{text}"
        emit(facts, as_json=self.json, text=facing)
        return 0


@dataclass(frozen=True)
class SampleLanguage:
    """Draws random words of a language, and prints them with their labels.

    The length of each word is drawn from the lengths between the two bounds at which the language has words.
    """

    name: Positional[str]
    """Name of a language (fwplab languages), or a definition such as "regex:(ab|ba)*"."""
    count: int = 10
    """How many words."""
    shortest: int = 2
    """The smallest length."""
    longest: int = 50
    """The largest length."""
    seed: int = 0
    """Seed of the random words."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        language = load_language(self.name)
        lengths = language.lengths(self.shortest, self.longest)
        if not 0 <= self.count * max(self.longest, 1) <= MOST_SYMBOLS:
            raise UserError(
                f"{shown(self.count)} words of up to {self.longest} symbols: choose a count from 0 on, and at most "
                f"{MOST_SYMBOLS:,} symbols in all"
            )
        if not lengths:
            raise UserError(
                f"{language.name} has no word of length {self.shortest} to {self.longest}; choose a wider range"
            )
        generator = seeded(self.seed)
        words = language.sample(generator.choice(lengths, self.count).tolist(), generator)
        facts = [{"string": word, "labels": language.labels(word)} for word in words]
        text = "\n".join(f"{fact['string']}\t{' '.join(fact['labels'])}" for fact in facts)
        emit(facts, as_json=self.json, text=text)
        return 0


@dataclass(frozen=True)
class LabelString:
    """Prints the label of every position of a string, separated by spaces."""

    name: Positional[str]
    """Name of a language (fwplab languages), or a definition such as "regex:(ab|ba)*"."""
    string: Positional[str]
    """A string over the language's alphabet."""
    json: bool = False
    """Print JSON, which also says whether the string is a word, and which symbols may follow."""

    def __call__(self) -> int:
        language = load_language(self.name)
        labels = language.labels(self.string)
        following = sorted(language.next_symbols(self.string), key=lambda symbol: (symbol == END, symbol))
        facts = {
            "language": language.name,
            "string": self.string,
            "labels": labels,
            "member": language.contains(self.string),
            "next_symbols": following,
        }
        emit(facts, as_json=self.json, text=" ".join(labels))
        return 0


@dataclass(frozen=True)
class ClassifyLanguage:
    """Says in which classes a regular language is, by its syntactic monoid."""

    name: Positional[str]
    """Name of a regular language (fwplab languages), or a definition such as "regex:(ab|ba)*"."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.languages._monoid import Monoid, classes

        language = load_language(self.name)
        if not isinstance(language, Regular):
            regular = ", ".join(name for name, kind in LANGUAGES.classes() if issubclass(kind, Regular))
            raise UserError(f"{language.name} is not regular; choose from: {regular}; or a definition")
        monoid = Monoid(language)
        answers = classes(monoid)
        facts = {
            "name": language.name,
            "states": monoid.states,
            "elements": len(monoid.elements),
            "classes": [each._asdict() for each in answers],
        }
        table = Table("class", "", "the syntactic monoid", "source", box=None)
        for each in answers:
            table.add_row(each.name, "yes" if each.holds else "no", each.meaning, each.source)
        table.title = escape(
            f"{short_name(language.name)}: a smallest automaton of {monoid.states} states, a syntactic monoid of "
            f"{len(monoid.elements)} elements"
        )
        emit(facts, as_json=self.json, text=table)
        return 0
