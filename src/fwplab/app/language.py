"""A page about one language: its rule, automaton and words, the labels of a string, and a short training on it."""

import inspect
from dataclasses import asdict, replace

import numpy as np
import streamlit as st

from fwplab.app.shared import choose, go, number, show_user_errors
from fwplab.app.text import code, show
from fwplab.app.training import MOST_JOBS, Job
from fwplab.data.splits import SplitSpec
from fwplab.errors import UserError
from fwplab.extraction.mealy import escape_dot
from fwplab.languages import END, LANGUAGES, Language, load_language
from fwplab.mixers import MIXERS
from fwplab.model.model import ModelSpec
from fwplab.training.run import PROTOCOLS, Run

STATES_DRAWN = 40
LONGEST = 500
MOST_STEPS = 5_000
SPLITS = SplitSpec(validation_strings=500, test_strings=200)


@show_user_errors
def page() -> None:
    """Shows the page."""
    st.title("Try a language")
    language = load_language(choose("language", LANGUAGES.names(), "language"))
    _rule(language)
    _words(language)
    _labels(language)
    _training(language)


def _rule(language: Language) -> None:
    text = inspect.getdoc(type(language)) or ""
    rule, _, examples = text.partition(">>>")
    show(rule.strip())
    facts = f"{language.hierarchy}; alphabet: {' '.join(language.symbols)}; labels: {' '.join(language.classes)}"
    show(facts, "note")
    left, right = st.columns([3, 2])
    if examples:
        left.code(f">>>{examples}".strip(), language="python", wrap_lines=True)
    moves = language.machine(STATES_DRAWN)
    if moves is None:
        right.caption(f"No finite automaton is drawn: more than {STATES_DRAWN} states can be reached.")
    else:
        right.graphviz_chart(_graph(language, moves))


def _graph(language: Language, moves: dict[object, dict[str, object]]) -> str:
    """The machine in the DOT language, with the labels in the states; a double circle is an accepting state."""
    names = {state: f"s{number}" for number, state in enumerate(moves)}
    grey = 'color="#888888", fontcolor="#888888"'  # can be read on white and on black
    lines = [f'digraph {{ rankdir=LR; bgcolor="transparent"; edge [{grey}]; node [color="#888888"];']
    lines.append("start [shape=point]; start -> s0;")
    for state, name in names.items():
        shape = "doublecircle" if END in language.following(state) else "circle"
        label = escape_dot(language.label(state) or "-")
        lines.append(f'{name} [shape={shape}, style=filled, fillcolor=white, label="{label}"];')
        targets: dict[object, list[str]] = {}
        for symbol, after in moves[state].items():
            targets.setdefault(after, []).append(symbol)
        lines += [
            f'{name} -> {names[after]} [label="{escape_dot(", ".join(read))}"];' for after, read in targets.items()
        ]
    return "\n".join([*lines, "}"])


def _words(language: Language) -> None:
    st.subheader("Words")
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    shortest = number("from length", 1, 500, 2, place=left)
    longest = number("to length", 1, 500, 20, place=middle)
    if right.button("other words"):
        st.session_state["draws"] = st.session_state.get("draws", 0) + 1
    lengths = language.lengths(shortest, longest)
    if not lengths:
        raise UserError(f"{language.name} has no word of length {shortest} to {longest}; choose a wider range")
    generator = np.random.default_rng(st.session_state.get("draws", 0))
    words = language.sample(sorted(generator.choice(lengths, 8).tolist()), generator)
    st.code("\n\n".join(f"{word}\n{''.join(language.labels(word))}" for word in words), language=None)
    st.caption("A word above the label of each of its positions.")


def _labels(language: Language) -> None:
    st.subheader("Why a position has its label")
    first = language.sample(language.lengths(2, 12)[-1:], np.random.default_rng(0))[0]
    label = f"a string over {code(' '.join(language.symbols))}"
    word = st.text_input(label, first, max_chars=LONGEST, key=f"word-{language.name}")
    if len(word) > LONGEST:
        raise UserError(f"the string has {len(word):,} symbols; choose one of at most {LONGEST}")
    labels, state, rows = language.labels(word), language.start, []
    for position, (symbol, label) in enumerate(zip(word, labels, strict=True), start=1):
        before, state = state, language.step(state, symbol)
        may = " ".join(sorted(language.following(state))) or "nothing: no word begins like this"
        rows.append(
            {
                "position": position,
                "symbol": symbol,
                "from": str(before),
                "to": str(state),
                "label": label,
                "next may come": may,
            }
        )
    st.dataframe(rows, hide_index=True)
    show(f"{word} is {'a' if language.contains(word) else 'no'} word of {language.name}.")


@st.cache_resource
def _jobs() -> dict[str, Job]:
    """The trainings that were started on this server, by the key of the run."""
    return {}


def _training(language: Language) -> None:
    st.subheader("A small training")
    first, second, third, fourth = st.columns(4, vertical_alignment="bottom")
    mixer = first.selectbox("mixer", MIXERS.names(), index=MIXERS.names().index("recurrent-delta"))
    seeds = number("seeds", 2, 8, 2, place=second)
    steps = number("steps at most", 100, MOST_STEPS, 800, step=100, place=third)
    run = Run(
        language.name,
        MIXERS.load(mixer)(),
        tuple(range(seeds)),
        (3e-3,),
        ModelSpec(),
        replace(PROTOCOLS["paper"], max_steps=steps, check_every=50, splits=SPLITS),
    )
    job = _jobs().get(run.key)
    if fourth.button("train", disabled=job is not None and job.running, type="primary"):
        if sum(other.running for other in list(_jobs().values())) >= MOST_JOBS:
            raise UserError(f"{MOST_JOBS} trainings run or wait already; wait until one has ended, or stop one")
        _jobs()[run.key] = Job(run)
    if run.key in _jobs():
        _job(run.key)


@st.fragment(run_every="1s")
@show_user_errors
def _job(key: str) -> None:
    job = _jobs()[key]
    if job.error:
        show(job.error, "bad")
    elif job.running:
        stage = "training" if job.progress else "starting the workers"
        st.progress(job.share, "waiting for another training" if job.waiting else stage)
        rows = [
            {"step": progress.step, **asdict(member), "status": member.status or "learning"}
            for progress in list(job.progress.values())
            for member in progress.members
        ]
        st.dataframe(rows, hide_index=True)
        if st.button("stop"):
            job.stop = True
    else:
        show(f"Trained: {job.run.mixer_name} on {job.run.language}, {len(job.run.seeds)} seeds.", "good")
        if st.button("its runs"):
            st.session_state["language"], st.session_state["mixer"] = job.run.language, job.run.mixer_name
            go("runs")
