"""Languages from a definition: a regular expression, an automaton in a file, or the size of a random automaton."""

import random
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from fwplab.errors import UserError, shown
from fwplab.languages._expression import Automaton, Moves, minimal
from fwplab.languages._regular import Regular
from fwplab.languages.language import DEFINITIONS, Language

MOST_STATES = 1_000
"""The most states of an automaton, before and after it is made minimal."""
MOST_SYMBOLS = 100
"""The most symbols of an alphabet."""
MOST_CHARACTERS = 2_500
"""The longest name of an automaton by value: some 300 states. An index of a PostgreSQL server holds 2,704 bytes."""
SHOWN_STATES = 30
"""An automaton of up to this many states is shown as a table."""
ATTEMPTS = 1_000
"""Random automata that are drawn until one is as asked."""

Machine = tuple[str, Automaton]
"""The symbols of an alphabet as one text, sorted, and the smallest automaton over it."""


def definition(name: str) -> type[Language]:
    """The language that a definition describes. Its own name is the definition by value.

    - `regex:EXPRESSION`: the strings that match the expression (`_regular_expression.machine`).
    - `dfa:FILE`: the strings that the automaton in the file accepts (`_automaton_file.machine`). The name of this
      language is `automaton:SYMBOLS:STATES`, with the smallest automaton in place of the file.
    - `random-dfa:states=8,seed=3`: the strings that a random automaton accepts (`_Random`).

    Raises `UserError` for another kind, for a definition that cannot be read or is too large, and if there is no word.
    """
    kind, _, text = name.strip().partition(":")
    kind = kind.strip().lower().replace("_", "-")
    if kind == "regex":
        return _language(f"regex:{text}")
    if kind == "dfa":
        from fwplab.languages._automaton_file import machine

        return _language(_written(*machine(Path(text).expanduser())))
    if kind == "automaton":
        return _language(_written(*_read(text)))
    if kind == "random-dfa":
        return _language(_Random(text).name)
    raise UserError(f"unknown kind of definition {shown(kind)}; choose from: {', '.join(DEFINITIONS.values())}")


@cache  # the same class for the same language, because other caches are keyed by it
def _language(name: str) -> type[Language]:
    kind, _, text = name.partition(":")
    if kind == "regex":
        from fwplab.languages._regular_expression import machine

        title, found = f"The strings that match the regular expression {text}", machine(text)
    elif kind == "automaton":
        title, found = "The strings that an automaton accepts", _read(text)
    else:
        title, found = f"The strings that a random automaton accepts ({text})", _Random(text).machine()
    symbols, smallest = found
    if not smallest.accepting:
        raise UserError(f"{name} has no word; choose another definition")
    attributes: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"{title}. The label of a position is 1 when its prefix is one, else 0.\n\n{_table(*found)}",
        "name": name,
        "symbols": tuple(symbols),
        "hierarchy": "regular",
        "moves": smallest.moves,
        "accepting": smallest.accepting,
    }
    return type("Defined", (Regular,), attributes)


def smallest_automaton(symbols: str, moves: Moves, accepting: frozenset[int]) -> Machine:
    """The smallest automaton with its symbols sorted. Raises `UserError` for a wrong alphabet or too many states."""
    checked_alphabet(symbols)
    if len(moves) > MOST_STATES:
        raise UserError(f"an automaton of {len(moves):,} states is too large; choose one of at most {MOST_STATES:,}")
    order = sorted(range(len(symbols)), key=symbols.__getitem__)
    rows = tuple(tuple(row[place] for place in order) for row in moves)
    return "".join(symbols[place] for place in order), minimal(rows, accepting)


def checked_alphabet(symbols: str) -> str:
    """`symbols`. Raises `UserError` unless they are 1 to MOST_SYMBOLS different characters that can be seen."""
    if not symbols or len(set(symbols)) < len(symbols) or len(symbols) > MOST_SYMBOLS:
        raise UserError(f"an alphabet has 1 to {MOST_SYMBOLS} different symbols, not {shown(symbols)}")
    if strange := [symbol for symbol in symbols if symbol.isspace() or not symbol.isprintable()]:
        raise UserError(f"a symbol is a character that can be seen, not {strange[0]!r}")
    return symbols


def _written(symbols: str, smallest: Automaton) -> str:
    """The name of an automaton by value: for each state the next states, a star if a word may end in it.

    >>> _written("01", Automaton(((0, 1), (1, None)), frozenset((0,))))
    'automaton:01:0,1*;1,-'
    """
    rows = [",".join("-" if to is None else str(to) for to in row) for row in smallest.moves]
    marked = (row + "*" * (state in smallest.accepting) for state, row in enumerate(rows))
    name = f"automaton:{symbols}:{';'.join(marked)}"
    if len(name.encode()) > MOST_CHARACTERS:
        raise UserError(
            f"the smallest automaton has {len(rows)} states and {len(symbols)} symbols, too many for the name of a "
            f"language; choose one that is written in {MOST_CHARACTERS:,} characters"
        )
    return name


def _read(text: str) -> Machine:
    """The inverse of `_written`. Raises `UserError` for a text of another form."""
    symbols, _, table = text.rpartition(":")
    rows = table.split(";")
    accepting = frozenset(state for state, row in enumerate(rows) if row.endswith("*"))
    cells = [row.removesuffix("*").split(",") for row in rows]
    plain = all(cell == "-" or (cell.isdecimal() and len(cell) < 8) for row in cells for cell in row)
    moves = tuple(tuple(None if cell == "-" else int(cell) for cell in row) for row in cells) if plain else ()
    inside = all(to is None or to < len(rows) for row in moves for to in row)
    if not moves or not inside or any(len(row) != len(symbols) for row in moves):
        raise UserError(
            f"automaton:{shown(text)} is no automaton; choose for example automaton:01:0,1*;1,0 (for each state the "
            f"next state for each symbol or -, and * if a word may end in it)"
        )
    return smallest_automaton(symbols, moves, accepting)


def _table(symbols: str, smallest: Automaton) -> str:
    """The automaton in words and, if it is small, its states and moves."""
    states = len(smallest.moves)
    head = f"Its smallest automaton has {states} states (without the one that leads to no word)"
    if states > SHOWN_STATES:
        return f"{head}."
    rows = [
        f"    {state}{'*' if state in smallest.accepting else ' '}: "
        + " ".join(f"{symbol}>{'-' if to is None else to}" for symbol, to in zip(symbols, row, strict=True))
        for state, row in enumerate(smallest.moves)
    ]
    return "\n".join([f"{head}; a star: a word may end there.", "", *rows])


class _Random:
    """A random minimal automaton: uniform moves, on the condition that all states are reached and none is redundant.

    Each state but the first is the target of one move of an earlier state; the other moves are uniform. Automata are
    drawn until one is minimal, with no state that leads to no word, and strongly connected if that is asked for.

    The options, separated by commas:

    - `states`: the number of states.
    - `symbols`: the size of the alphabet a, b, c, ...; the default is 2.
    - `seed`: the seed; the default is 0.
    - `strongly-connected`: `yes` if every state can be reached from every other; the default is `no`.
    - `accepting`: the share of the states in which a word may end, between 0 and 1; the default is 0.5.

    The random numbers are those of `random.Random.random`, which Python keeps the same in all versions.
    """

    DEFAULTS: ClassVar = {"states": "8", "symbols": "2", "seed": "0", "strongly-connected": "no", "accepting": "0.5"}
    ALWAYS = ("states", "seed")  # named even where they have their defaults

    def __init__(self, text: str) -> None:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        given = {key.strip().lower().replace("_", "-"): value.strip().lower() for key, _, value in pairs}
        if unknown := [key for key in given if key not in self.DEFAULTS]:
            raise UserError(f"random-dfa has no option {shown(unknown[0])}; choose from: {', '.join(self.DEFAULTS)}")
        values = self.DEFAULTS | given
        self.states = self._whole("states", values, 1, MOST_STATES)
        self.symbols = self._whole("symbols", values, 1, 26)
        self.seed = self._whole("seed", values, 0, 2**63 - 1)
        self.connected = values["strongly-connected"] == "yes"
        if values["strongly-connected"] not in ("yes", "no"):
            raise UserError(f"strongly-connected is yes or no, not {shown(values['strongly-connected'])}")
        try:
            self.share = float(values["accepting"])
        except ValueError:
            self.share = -1.0
        if not 0 < self.share <= 1:
            raise UserError(f"accepting is a share above 0 and up to 1, not {shown(values['accepting'])}")

    @staticmethod
    def _whole(key: str, values: dict[str, str], low: int, high: int) -> int:
        text = values[key]
        if not text.isdecimal() or len(text) > 19 or not low <= int(text) <= high:
            raise UserError(f"{key} of random-dfa is a whole number from {low} to {high}, not {shown(text)}")
        return int(text)

    @property
    def name(self) -> str:
        """The definition with its options in a fixed order, without those that have their defaults."""
        values = {
            "states": str(self.states),
            "symbols": str(self.symbols),
            "strongly-connected": "yes" if self.connected else "no",
            "accepting": f"{self.share:g}",
            "seed": str(self.seed),
        }
        kept = {key: value for key, value in values.items() if key in self.ALWAYS or value != self.DEFAULTS[key]}
        return "random-dfa:" + ",".join(f"{key}={value}" for key, value in kept.items())

    def machine(self) -> Machine:
        source = random.Random(self.seed)
        ends = min(max(round(self.share * self.states), 1), max(self.states - 1, 1))
        for _ in range(ATTEMPTS):
            table = self._moves(source)
            accepting = _chosen(source, self.states, ends)
            found = minimal(tuple(map(tuple, table)), accepting)
            if len(found.moves) == self.states and not (self.connected and _leaves_start(found.moves)):
                return "abcdefghijklmnopqrstuvwxyz"[: self.symbols], found
        raise UserError(f"{self.name}: {ATTEMPTS:,} automata were drawn and none is as asked; choose other options")

    def _moves(self, source: random.Random) -> list[list[int]]:
        table = [[int(source.random() * self.states) for _ in range(self.symbols)] for _ in range(self.states)]
        free: list[tuple[int, int]] = []
        for state in range(self.states):
            if state:
                place = int(source.random() * len(free))
                free[place], free[-1] = free[-1], free[place]
                origin, symbol = free.pop()
                table[origin][symbol] = state
            free += [(state, symbol) for symbol in range(self.symbols)]
        return table


def _chosen(source: random.Random, number: int, size: int) -> frozenset[int]:
    """A random set of `size` of the states, uniform over all such sets."""
    order = sorted(range(number), key=lambda _: source.random())
    return frozenset(order[:size])


def _leaves_start(moves: Moves) -> bool:
    """Whether some state cannot go back to the start."""
    back = {0}
    while more := {state for state, row in enumerate(moves) if not back.isdisjoint(row)} - back:
        back |= more
    return len(back) < len(moves)
