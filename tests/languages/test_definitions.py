"""Languages from a definition: regular expressions, automata in files, random automata."""

import json
import re
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from automata.fa.dfa import DFA
from hypothesis import given, settings
from hypothesis import strategies as st

from fwplab.cli import run as command
from fwplab.data.tasks import for_task, non_words
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, Language, Regular, load_language, short_name
from fwplab.languages._definition import _read, _written
from fwplab.mixers import MIXERS
from fwplab.plugins.check_language import check
from fwplab.training.run import Run, from_dict, to_dict

PARITY = "automaton:01:0,1*;1,0"

FILES = {
    "aalpy.dot": """digraph learnedModel {
s1 [label="s1"];
s0 [label="s0", shape=doublecircle];
s0 -> s0 [label="0"];
s0 -> s1 [label="1"];
s1 -> s1 [label="0"];
s1 -> s0 [label="1"];
__start0 [label="", shape=none];
__start0 -> s0 [label=""];
}
""",
    "graphviz.gv": """// defaults hold from where they stand
digraph "two states" {
    rankdir=LR; node [shape=point]; "";
    node [shape = doublecircle]; even;
    node [shape = circle];
    "" -> even; even -> odd [label="1"]; odd -> even [label="1"];
    even -> even [label="0"]; odd -> odd [label="0"];
}
""",
    "automata-lib.dot": """digraph "" {
\tgraph [rankdir=LR, ranksep=0.5];
\tnode [label="\\N"];
\t"3f0c-71" [fontsize=14.0, label="", shape=point];
\teven [fontsize=14.0, shape=doublecircle];
\t"3f0c-71" -> even [arrowsize=0.85, tooltip="->even"];
\teven -> even [arrowsize=0.85, fontsize=14.0, label=0];
\todd [fontsize=14.0, shape=circle];
\teven -> odd [arrowsize=0.85, fontsize=14.0, label=1];
\todd -> even [arrowsize=0.85, fontsize=14.0, label=1];
\todd -> odd [arrowsize=0.85, fontsize=14.0, label=0];
}
""",
    "own.json": json.dumps({"symbols": ["1", "0"], "moves": [[1, 0], [0, 1]], "accepting": [0]}),
    "automata-lib.json": json.dumps(
        {
            "states": ["odd", "even", "never"],
            "input_symbols": ["0", "1"],
            "transitions": {"even": {"0": "even", "1": "odd"}, "odd": {"0": "odd", "1": "even"}, "never": {}},
            "initial_state": "even",
            "final_states": ["even", "never"],
        }
    ),
    "aalpy-setup.json": json.dumps({"q0": [True, {"0": "q0", "1": "q1"}], "q1": [False, {"0": "q1", "1": "q0"}]}),
}


def strings(symbols: Any, longest: int) -> list[str]:
    return ["".join(letters) for length in range(longest + 1) for letters in product(symbols, repeat=length)]


expressions = st.recursive(
    st.sampled_from(("a", "b", "[ab]", "[^a]", ".", r"\(", "()")),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("({0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(("*", "+", "?", "{2}", "{1,}", "{0,2}", "{,2}", "{2,3}", "{0,}"))).map(
            "({0[0]}){0[1]}".format
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(expressions)
def test_an_expression_has_the_strings_that_pythons_own_matches(expression: str) -> None:
    try:
        language = load_language(f"regex:{expression}")
    except UserError as error:
        assert "no word" in str(error) or "no alphabet" in str(error)  # noqa: PT017
        return
    for string in strings(language.symbols, 5):
        assert language.contains(string) == (re.fullmatch(expression, string) is not None), string


@settings(max_examples=60, deadline=None)
@given(expressions)
def test_its_automaton_is_as_small_as_the_librarys(expression: str) -> None:
    from automata.fa.nfa import NFA

    try:
        language = load_language(f"regex:{expression}")
    except UserError:
        return
    assert isinstance(language, Regular)
    found = NFA.from_regex(expression, input_symbols=set(language.symbols))
    theirs = DFA.from_nfa(found, minify=True)
    assert as_library(language) == theirs
    live = sum(any(theirs.transitions[state].values()) or state in theirs.final_states for state in theirs.states)
    assert len(language.moves) <= len(theirs.states) <= len(language.moves) + 1, live


def as_library(language: Regular) -> DFA:
    moves = {
        state: {symbol: to for symbol, to in zip(language.symbols, row, strict=True) if to is not None}
        for state, row in enumerate(language.moves)
    }
    return DFA(
        states=set(moves),
        input_symbols=set(language.symbols),
        transitions=moves,
        initial_state=0,
        final_states=set(language.accepting),
        allow_partial=True,
    )


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("(a|b)*a(a|b){20}", "more than 1,000 states"),
        ("(a?){600}", "too large once its repetitions"),
        ("((((a{9}){9}){9}){9}){9}", "too large once its repetitions"),
        ("(a{30})^(b{30})^(c{30})", "too large once its repetitions"),
        ("(" * 400 + "a", "cannot be read"),
        ("a" * 501, "at most 500"),
        ("[a-\U0010ffff]*", "too large"),
        ("a{0}", "cannot be read at character 2"),
        ("a{999999999}", "cannot be read at character 2"),
        (r"\d*", "cannot be read at character 1"),
        ("a b", "cannot be read at character 2"),
        ("[ab", "cannot be read at character 1"),
        ("a|", "cannot be read"),
        ("*a", "cannot be read"),
        ("a)", "cannot be read"),
        ("a{3,1}", "cannot be read"),
        ("", "without a symbol"),
        ("()*", "without a symbol"),
        ("a&b", "has no word"),
    ],
)
def test_a_wrong_or_huge_expression_is_one_line_at_once(expression: str, complaint: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(UserError, match=re.escape(complaint)):
        load_language(f"regex:{expression}")
    assert time.perf_counter() - begin < 20


def test_the_largest_expressions_end_in_bounded_time() -> None:
    begin = time.perf_counter()
    for expression in ("(a?){200}", "((a|b)*a){300}", "(a*b*c*d*e*){60}", "(a|aa|aaa){60}", "((((a*)*)*)*)*b"):
        try:
            load_language(f"regex:{expression}").count(100)
        except UserError as error:
            assert "too large" in str(error) or "states" in str(error)  # noqa: PT017
    assert time.perf_counter() - begin < 60


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_language(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    language = load_language(f"dfa:{path}")
    assert language.name == PARITY
    assert type(language) is type(load_language(PARITY))
    check(language)


def test_an_automaton_that_aalpy_saves_can_be_read(tmp_path: Path) -> None:
    automata = pytest.importorskip("aalpy.automata")
    machine = automata.Dfa.from_state_setup(json.loads(FILES["aalpy-setup.json"]))
    machine.save(str(tmp_path / "parity"), "dot")
    assert load_language(f"dfa:{tmp_path / 'parity'}.dot").name == PARITY
    setup = {state: list(values) for state, values in machine.to_state_setup().items()}
    (tmp_path / "setup.json").write_text(json.dumps(setup))
    assert load_language(f"dfa:{tmp_path / 'setup.json'}").name == PARITY


def test_a_label_may_be_several_symbols(tmp_path: Path) -> None:
    (tmp_path / "last.dot").write_text(
        'digraph { s [shape=point]; s -> q; q -> q [label="a, b"]; q -> r [label=","]; r [shape=doublecircle]; }'
    )
    assert load_language(f"dfa:{tmp_path / 'last.dot'}").name == "automaton:,ab:1,0,0;-,-,-*"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nothing", "is no DOT text"),
        ("{", "JSONDecodeError"),
        ("[1]", "an automaton is a JSON object"),
        ("{}", "an automaton is a JSON object"),
        ('digraph { a -> b [label="x"]; }', "0 edges without a label"),
        ('digraph { s -> a; a -> b [label="x"]; a -> a [label="x"]; b [shape=doublecircle]; }', "not deterministic"),
        ('digraph { s -> a; a -> a [label="coin"]; a [shape=doublecircle]; }', "a symbol is a single character"),
        ('digraph { s -> a; a -> a [label="x"]; }', "has no word"),
        (json.dumps({"symbols": ["a"], "moves": [[3]], "accepting": [0]}), "not declared"),
        (json.dumps({"symbols": ["a"], "moves": [[0]], "accepting": [1]}), "which is no state"),
        (json.dumps({"symbols": ["a"], "moves": [[0]] * 2_000, "accepting": [0]}), "at most 1,000"),
        (json.dumps({"symbols": ["\t"], "moves": [[0]], "accepting": [0]}), "can be seen"),
        (json.dumps({"symbols": ["a"], "moves": [[n + 1] for n in range(900)] + [[0]], "accepting": [0]}), "too many"),
        ("x" * 600_000, "larger than"),
        (json.dumps({"states": ["a"], "transitions": {"a": {"x": "a"}}}), "KeyError"),
        ('{"a": 3}', "TypeError"),
    ],
)
def test_a_wrong_file_is_one_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        load_language(f"dfa:{path}")


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_language(f"dfa:{tmp_path / 'none.dot'}")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_language(f"dfa:{tmp_path}")


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 12), st.integers(1, 3), st.booleans())
def test_random_automata_are_as_asked(seed: int, states: int, symbols: int, connected: bool) -> None:
    text = f"random-dfa:seed={seed},states={states},symbols={symbols},strongly_connected={'yes' if connected else 'no'}"
    try:
        language = load_language(text)
    except UserError as error:
        assert "none is as asked" in str(error)  # noqa: PT017
        assert symbols == 1
        return
    assert isinstance(language, Regular)
    assert (len(language.moves), len(language.symbols)) == (states, symbols)
    assert len(as_library(language).minify().states) in (states, states + 1)
    assert _read(_written("".join(language.symbols), as_named(language)).partition(":")[2])[1].moves == language.moves
    if connected:
        for origin in range(states):
            seen = {origin}
            while more := {to for state in seen for to in language.moves[state] if to is not None} - seen:
                seen |= more
            assert len(seen) == states
    assert load_language(language.name).moves == language.moves  # type: ignore[attr-defined]


def as_named(language: Regular) -> Any:
    from fwplab.languages._expression import Automaton

    return Automaton(language.moves, language.accepting)


def test_a_random_automaton_stays_the_same_in_all_versions() -> None:
    language = load_language("random-dfa:states=3,seed=1")
    assert isinstance(language, Regular)
    assert _written("ab", as_named(language)) == "automaton:ab:0,1*;2,2*;1,1"
    assert language.name == load_language("Random_DFA:seed=1, states=3,symbols=2").name == "random-dfa:states=3,seed=1"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("state=3", "no option 'state'; choose from: states, symbols, seed"),
        ("states=0", "from 1 to 1000"),
        ("states=x", "from 1 to 1000"),
        ("seed=-1", "seed of random-dfa is a whole number"),
        ("strongly-connected=maybe", "yes or no"),
        ("accepting=0", "a share above 0"),
        ("accepting=nan", "a share above 0"),
    ],
)
def test_a_wrong_option_names_the_choices(options: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_language(f"random-dfa:{options}")


NAMES = ("regex:(ab|ba)*", "regex:[ab]*aa", PARITY, "random-dfa:states=6,seed=4", "regex:a{3,}b?")


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_keeps_the_promises_of_a_language(name: str) -> None:
    language = load_language(name)
    check(language)
    assert LANGUAGES.name_of(type(language)) == LANGUAGES.known(name) == language.name == name
    assert name in LANGUAGES
    assert for_task(language, "recognition").contains(language.sample(language.lengths(1, 20)[:1], generator())[0])
    assert not any(language.contains(other) for other in non_words(language, [6] * 20, generator()))


def generator() -> Any:
    import numpy as np

    return np.random.default_rng(0)


def test_a_run_is_the_same_wherever_the_file_of_its_automaton_lies(tmp_path: Path) -> None:
    mixer, keys = MIXERS.load("lstm")(), set()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
        run = Run(f"dfa:{tmp_path / name}", mixer)
        assert run.language == PARITY
        assert from_dict(Run, to_dict(run)) == run
        keys.add(run.key)
    assert len(keys) == 1
    assert Run("regex:(ab|ba)*", mixer).key != Run("regex:(ba|ab)*", mixer).key
    assert Run("random-dfa:seed=3", mixer).key == Run("random-dfa:states=8,symbols=2,seed=3", mixer).key


def test_names_are_short_in_tables() -> None:
    assert short_name("regex:(ab|ba)*") == "regex:(ab|ba)*"
    long = "regex:" + "ab" * 40
    assert len(short_name(long)) < 30
    assert short_name(long) != short_name(long + "a")
    assert short_name("x" * 100) == "x" * 100


def test_the_commands_take_definitions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parity.dot").write_text(FILES["aalpy.dot"])
    assert command(["languages", "show", f"dfa:{tmp_path / 'parity.dot'}"]) == 0
    assert "0*: 0>0 1>1" in capsys.readouterr().out
    assert command(["languages", "sample", "regex:(ab|ba)*", "--count", "3", "--longest", "8"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert command(["languages", "label", "regex:(ab|ba)*", "abba", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["0", "1", "0", "1"]
    words = ["corpus", "export", str(tmp_path / "corpus"), "--language", "regex:(ab|ba)*"]
    sizes = ["--train-strings", "50", "--validation-strings", "10", "--test-strings", "10"]
    assert command([*words, *sizes]) == 0
    assert command(["corpus", "audit", str(tmp_path / "corpus"), "--language", "regex:(ab|ba)*"]) == 0
    assert "0 with label errors" in capsys.readouterr().out
    assert command(["languages", "show", "regex:(ab"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", ["random-dfa:states=1000,seed=1", "regex:[ab]*c[ab]{300}"])
def test_a_large_automaton_counts_and_draws_in_bounded_time(name: str) -> None:
    language: Language = load_language(name)
    begin = time.perf_counter()
    longest = language.longest
    assert longest <= 20_000_000
    words = language.sample(language.lengths(300, 320)[:3], generator())
    assert all(map(language.contains, words))
    with pytest.raises(UserError, match="a string has at most"):
        language.sample([longest + 1], generator())
    assert time.perf_counter() - begin < 60
