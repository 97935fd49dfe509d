"""Strings of a language, regular expressions, and automata."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tests.fuzz.command import command
from tests.fuzz.door import Door
from tests.fuzz.values import numbers, words

from fwplab.automata import Moore
from fwplab.data.tasks import for_task
from fwplab.languages import LANGUAGES, load_language
from fwplab.languages._expression import automaton
from fwplab.smfa.machine import Change, Move, SelfModifying

NAMES = LANGUAGES.names()
SIGNS = "ab()|*+?\\"
PLACES = st.sampled_from(("p", "q", "v", "v'", "w", "w'")) | words
SYMBOLS = st.sampled_from(("a", "b")) | words


@st.composite
def named_strings(draw: st.DrawFn) -> tuple[str, str]:
    """A language and a string: over its alphabet, nearly so, or any text."""
    name = draw(st.sampled_from(NAMES))
    symbols = load_language(name).symbols
    inside = st.text(st.sampled_from(symbols), max_size=40)
    nearly = st.tuples(inside, words, inside).map("".join)
    return draw(st.one_of(st.just(name), words) if draw(st.integers(0, 9)) == 0 else st.just(name)), draw(
        inside | inside | nearly | words
    )


def read_string(case: tuple[str, str], folder: Path) -> None:
    """Everything that a language says about a string; what it labels is as long as the string."""
    name, string = case
    language = load_language(name)
    for each in (language, for_task(language, "recognition")):
        each.contains(string)
        each.next_symbols(string)
        labels = each.labels(string)
        assert len(labels) == len(string)
        assert set(labels) <= set(each.classes)


def label_string(case: tuple[str, str], folder: Path) -> None:
    """`fwplab languages label`."""
    command(["languages", "label", *case])


PIECES = ("a", "b", "(a|b)", "*", "+", "|", "(ab)*", "\\(", "(", ")", "a*", "(a|b)*a")
REPEATED = ("(", "((a|b)*", "a|", "(a*", "(a|b)*a(a|b)", "(a|b)", "ab")
expressions = st.one_of(
    st.text(st.sampled_from(SIGNS), max_size=24),
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.builds(lambda piece, times: piece * times, st.sampled_from(REPEATED), st.sampled_from((10, 25, 300, 5_000))),
    st.integers(5, 400).map(lambda times: "(a|b)*a" + "(a|b)" * times),
    words,
)


def read_expression(expression: str, folder: Path) -> None:
    """A regular expression becomes an automaton, whose moves lead to its own states."""
    found = automaton(expression, "ab")
    assert all(after is None or 0 <= after < len(found.moves) for row in found.moves for after in row)


moore = st.fixed_dictionaries(
    {
        "symbols": st.lists(SYMBOLS, max_size=3).map(tuple),
        "outputs": st.lists(st.sampled_from(("0", "1", None)), max_size=4).map(tuple),
        "moves": st.lists(st.lists(st.integers(-1, 4) | numbers, max_size=3).map(tuple), max_size=4).map(tuple),
    }
)
moves = st.builds(Move, PLACES, SYMBOLS, PLACES, st.none() | st.sampled_from(("c", "d")) | words)
self_modifying = st.fixed_dictionaries(
    {
        "symbols": st.just(("a", "b")),
        "states": st.just({"p": "0", "q": "1"}) | st.dictionaries(PLACES, words, max_size=3),
        "start": st.just("p") | PLACES,
        "moves": st.lists(moves, max_size=4).map(tuple),
        "registers": st.just({"v": "q"}) | st.dictionaries(PLACES, PLACES, max_size=2),
        "changes": st.dictionaries(
            st.just("c") | words,
            st.builds(
                Change,
                st.just({"v": "0"}) | st.dictionaries(PLACES, words, max_size=2),
                st.lists(moves, max_size=3).map(tuple),
                st.lists(st.tuples(PLACES, SYMBOLS), max_size=2).map(tuple),
            ),
            max_size=2,
        ),
    }
)


def run_moore(case: dict[str, Any], folder: Path) -> None:
    """A Moore machine reads a string of its own symbols."""
    machine = Moore(**case)
    machine.run(machine.symbols * 3)


def run_self_modifying(case: dict[str, Any], folder: Path) -> None:
    """A self-modifying automaton reads a string."""
    machine = SelfModifying(**case)
    machine.trace("aabbab")


DOORS = (
    Door("strings", named_strings(), read_string, 10_000, 40),
    Door("languages label", named_strings(), label_string, 4_000, 20),
    Door("regular expressions", expressions, read_expression, 8_000, 30),
    Door("Moore machines", moore, run_moore, 6_000, 40),
    Door("self-modifying automata", self_modifying, run_self_modifying, 6_000, 40),
)
