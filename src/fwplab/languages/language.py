"""The base class of languages: a machine that reads symbols, and a sampler of words of a given length."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fwplab.catalogue import Catalogue
from fwplab.errors import UserError, shown
from fwplab.source import class_text

END = "end"  # in a set of next symbols: the word may end here
LONGEST_NAME = 40  # of a definition in a table
LONGEST = 1_000_000
"""The most symbols of a string: counting the words of a length, and reading one, take longer and longer."""
MOST_LENGTHS = 5_000
"""The most lengths of a range; for some languages the words of each are counted."""
SYMBOLS_AT_ONCE = 2**20  # words are drawn in batches of at most this many symbols, to bound the memory


class Language(ABC):
    """A language as a deterministic machine, possibly with infinitely many states, and a sampler.

    A subclass defines its alphabet and label classes, and `start`, `step`, `label` and `following`. Labels, membership
    and next symbols are all computed from these four, so that they always agree. States are hashable values. Equal
    states have the same continuations.
    """

    symbols: ClassVar[tuple[str, ...]]  # the alphabet: single characters in the order of their token indices
    classes: ClassVar[tuple[str, ...]]  # the label classes in the order of their indices
    hierarchy: ClassVar[str]  # the place in the Chomsky and counter hierarchies
    start: ClassVar[Any]  # the state after the empty string
    longest: ClassVar[int] = LONGEST  # the most symbols of a word that is drawn or counted
    numbers: ClassVar[tuple[int, ...]] = ()  # of a family (a file whose name ends in _n): its members in the catalogue
    options: ClassVar[dict[str, tuple[str, ...]]] = {}  # the options that a name may have, the default first

    @abstractmethod
    def step(self, state: Any, symbol: str) -> Any:
        """The state after one more symbol of the alphabet."""

    @abstractmethod
    def label(self, state: Any) -> str | None:
        """The label class of a position after which the state is `state`; None if it is undefined."""

    @abstractmethod
    def following(self, state: Any) -> frozenset[str]:
        """The symbols with which some word continues, and END after a whole word. Empty if no word begins like this."""

    def counters(self, state: Any) -> dict[str, int]:
        """The values of the counters in the state, by name. Empty without counters and in a dead state."""
        return {}

    @abstractmethod
    def count(self, length: int) -> int:
        """The exact number of distinct words of this length."""

    @abstractmethod
    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Independent random words as token indices `[number, length]`. Called only if `count(length) > 0`."""

    def word_rule(self, string: str) -> bool | None:
        """Whether `string` is a word, computed without the states; None if the language does not define this.

        This is a second, independent definition of the language. The tests and the check of a plug-in language compare
        it with the states. `string`: any string over the alphabet.
        """
        return None

    def label_rule(self, prefix: str) -> str | None:
        """The label of the last position of `prefix`, computed without the states; None if it is undefined.

        The default is the second class if `prefix` is a word, else the first. `prefix`: any nonempty string over the
        alphabet.
        """
        return self.classes[bool(self.word_rule(prefix))]

    def draw_weight(self, word: str) -> float:
        """The probability that `draw` returns this word, up to a factor common to all words of its length.

        The default is 1: all words of a length are equally likely. The tests compare it with `draw`.
        """
        return 1.0

    @classmethod
    def member(cls, number: int | None, **options: str) -> dict[str, Any]:
        """The attributes of the member of a family with this number, and of a language with these options.

        Raises `UserError` for a number that the family does not have.
        """
        return {}

    @property
    def name(self) -> str:
        """The name of the language in the catalogue."""
        return _name_of(type(self))

    def labels(self, string: str) -> list[str]:
        """The label class of every position of `string`, in O(n).

        Raises `UserError` for a symbol outside the alphabet and for a position whose label is undefined. The message
        gives the position, counted from 1.
        """
        state, labels = self.start, []
        for position, symbol in enumerate(string, start=1):
            if symbol not in self.symbols:
                raise UserError(
                    f"{self.name}: symbol {symbol!r} at position {position} is outside the alphabet, "
                    f"choose from: {' '.join(self.symbols)}"
                )
            before = state
            state, label = _move(self, before, symbol)
            if label is None:
                allowed = " ".join(sorted(self.following(before)))
                raise UserError(
                    f"{self.name}: no word continues with symbol {symbol!r} at position {position}, "
                    f"choose from: {allowed}"
                )
            labels.append(label)
        return labels

    def asked(self, length: int) -> int:
        """The number of labelled positions in a string of this length, counted from its end. The default is all."""
        return length

    def targets(self, string: str) -> list[str]:
        """The labels on which a model is trained and evaluated: those of the last `asked(len(string))` positions."""
        return self.labels(string)[len(string) - self.asked(len(string)) :]

    def contains(self, string: str) -> bool:
        """Whether `string` is a word of the language. A string with a symbol outside the alphabet is none."""
        return END in self.next_symbols(string)

    def next_symbols(self, prefix: str) -> frozenset[str]:
        """The symbols that may follow `prefix`, and END if it is a word. Empty if no word begins with `prefix`."""
        state = self.start
        for symbol in prefix:
            if symbol not in self.symbols:
                return frozenset()
            state, _ = _move(self, state, symbol)
        return self.following(state)

    def machine(self, limit: int) -> dict[Any, dict[str, Any]] | None:
        """The reachable states, the start first, each with its next states. None if there are more than `limit`.

        >>> from fwplab.languages import load_language
        >>> load_language("parity").machine(10)
        {0: {'0': 0, '1': 1}, 1: {'0': 1, '1': 0}}
        >>> load_language("dyck_1").machine(100) is None
        True
        """
        moves: dict[Any, dict[str, Any]] = {}
        waiting = [self.start]
        while waiting:
            state = waiting.pop(0)
            if state in moves:
                continue
            if len(moves) == limit:
                return None
            moves[state] = {symbol: self.step(state, symbol) for symbol in self.symbols}
            waiting += moves[state].values()
        return moves

    def lengths(self, low: int, high: int) -> list[int]:
        """The lengths from `low` to `high`, both included, of which there are words.

        Raises `UserError` for more than `MOST_LENGTHS` lengths, and for one above `longest`.
        """
        if high > self.longest or high - max(low, 0) > MOST_LENGTHS:
            raise UserError(
                f"lengths from {shown(low)} to {shown(high)}: choose at most {MOST_LENGTHS:,} lengths in a row, "
                f"up to {self.longest:,}"
            )
        return [length for length in range(max(low, 0), high + 1) if self.count(length) > 0]

    def sample(self, lengths: Sequence[int], generator: np.random.Generator) -> list[str]:
        """Independent random words, one for each entry of `lengths` and in the same order.

        Raises `UserError` for a length of which there is no word.
        """
        wanted = np.asarray(lengths, dtype=np.int64)
        words = [""] * len(wanted)
        for length in np.unique(wanted).tolist():
            if length > self.longest:
                raise UserError(f"a string has at most {self.longest:,} symbols, not {length}")
            if length < 0 or self.count(length) == 0:
                near = ", ".join(map(str, self.lengths(length - 8, min(length + 8, self.longest)))) or "none"
                raise UserError(f"{self.name} has no word of length {length}; lengths near it: {near}")
            places = np.flatnonzero(wanted == length).tolist()
            rows = max(1, SYMBOLS_AT_ONCE // max(1, length))
            for begin in range(0, len(places) if length else 0, rows):
                batch = places[begin : begin + rows]
                for place, word in zip(batch, self._words(length, len(batch), generator), strict=True):
                    words[place] = word
        return words

    def _words(self, length: int, number: int, generator: np.random.Generator) -> list[str]:
        letters = np.array(self.symbols, dtype="U1")[self.draw(length, number, generator)]
        words: list[str] = letters.view(f"U{length}")[:, 0].tolist()
        return words


class Languages(Catalogue[Language]):
    """The catalogue of languages.

    - A file whose name ends in `_n` is a family: `d_n.py` holds d_2, d_3, ... Its class lists in `numbers` those that
      belong to the catalogue, as a literal; others can be named too.
    - A name may have options: `symmetric_5:generators=swaps`. `Language.member` says which.
    - A name may be a definition, such as `regex:(ab|ba)*`: see `_definition`. It says the whole language, so that
      another process needs nothing but the name.
    """

    def load(self, name: str) -> type[Language]:
        if is_definition(name):
            return defined(name)
        head, _, options = name.partition(":")
        plain = self._normalised(head)
        family = FAMILY.fullmatch(plain)
        if family and plain not in self._files() and f"{family[1]}n" in self._files():
            return _member(super().load(f"{family[1]}n"), plain, int(family[2]), _options(options))
        if plain.endswith("_n") and plain in self._files():
            members = ", ".join(f"{plain[:-1]}{number}" for number in _numbers(self.package, self._files()[plain]))
            raise UserError(f"{plain} is a family of languages; choose for example from: {members}")
        found = super().load(plain)
        return _member(found, plain, None, _options(options)) if options else found

    def read(self, name: str, *attributes: str) -> dict[str, Any]:
        if self._normalised(name) in self._files():
            return super().read(name, *attributes)
        return {attribute: getattr(self.load(name), attribute) for attribute in attributes}

    def known(self, name: str) -> str:
        return super().known(name) if name in self.names() else self.name_of(self.load(name))

    def name_of(self, entry: type[Language]) -> str:
        return entry.name if isinstance(entry.name, str) else super().name_of(entry)

    def __contains__(self, name: str) -> bool:
        try:
            return super().__contains__(name) or bool(self.load(name))
        except UserError:
            return False

    def own_names(self) -> list[str]:
        families = {name: _numbers(self.package, stem) for name, stem in self._files().items() if name.endswith("_n")}
        members = [f"{name[:-1]}{number}" for name, numbers in families.items() for number in numbers]
        return sorted([*(set(self._files()) - set(families)), *members])

    def _single_files(self) -> dict[str, str]:
        return self._files()

    def _unknown(self, name: str) -> str:
        return f"{super()._unknown(name)}; or a definition: {', '.join(DEFINITIONS.values())}"


FAMILY = re.compile(r"(.*_)(\d{1,4})")
DEFINITIONS = {"regex": "regex:EXPRESSION", "dfa": "dfa:FILE", "random-dfa": "random-dfa:states=8,seed=3"}
"""The kinds of definitions, with an example each."""


def is_definition(name: str) -> bool:
    """Whether the name of a language is a definition."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind.strip().lower().replace("_", "-") in (*DEFINITIONS, "automaton")


@cache
def _numbers(package: str, stem: str) -> tuple[int, ...]:
    """The members of a family that belong to the catalogue, without importing its file."""
    numbers: tuple[int, ...] = class_text(f"{package}.{stem}", stem.replace("_", ""))["numbers"]
    return numbers


@cache  # the same class for the same language, because other caches are keyed by it
def _member(
    kind: type[Language], name: str, number: int | None, options: tuple[tuple[str, str], ...]
) -> type[Language]:
    known = kind.options
    if unknown := [key for key, _ in options if key not in known]:
        raise UserError(f"{name} has no option {shown(unknown[0])}; choose from: {', '.join(known) or 'none'}")
    if wrong := [(key, value) for key, value in options if value not in known[key]]:
        raise UserError(
            f"{wrong[0][0]} of {name} is no {shown(wrong[0][1])}; choose from: {', '.join(known[wrong[0][0]])}"
        )
    given = {key: value for key, value in options if value != known[key][0]}
    if len(given) < len(options):
        return _member(kind, name, number, tuple(given.items()))
    if not given and number is None:
        return kind
    attributes = kind.member(number, **{key: value[0] for key, value in known.items()} | given)
    full = name + (":" + ",".join(f"{key}={given[key]}" for key in known if key in given) if given else "")
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "name": full, **attributes})


def _options(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.lower().split(",") if part.strip()]
    return tuple(sorted({key.strip(): value.strip() for key, _, value in pairs}.items()))


def short_name(name: str) -> str:
    """The name of a language for a narrow table. That of a long definition is cut, and ends in a part of its hash.

    >>> short_name("reset_dyck_1"), short_name("automaton:01:" + 50 * "0,1*;")
    ('reset_dyck_1', 'automaton:01:0,1*;...f1b90c')
    """
    if len(name) <= LONGEST_NAME or not is_definition(name):
        return name
    return f"{name[:18]}...{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def defined(name: str) -> type[Language]:
    """The language of a definition. Equal definitions have the same class. Raises `UserError` if it is wrong."""
    from fwplab.languages._definition import definition  # its base class is defined with the help of this module

    return definition(name)


LANGUAGES = Languages("language", "fwplab.languages", Language)


@lru_cache(maxsize=2**16)  # strings repeat the same steps many times
def _move(language: Language, state: Any, symbol: str) -> tuple[Any, str | None]:
    after = language.step(state, symbol)
    return after, language.label(after)


@cache  # the catalogue reads the metadata of all installed packages
def _name_of(kind: type[Language]) -> str:
    return LANGUAGES.name_of(kind)
