"""The automaton extracted from a checkpoint, beside the language's own, with a word on which they differ."""

import importlib.util
from pathlib import Path

import streamlit as st

from fwplab.app.shared import choose_checkpoint, model_of, number, show_user_errors
from fwplab.app.sharing import for_all_sessions
from fwplab.app.text import show
from fwplab.errors import UserError
from fwplab.extraction.extract import METHODS, Extraction, Method, describe_kept, extract, verdict
from fwplab.extraction.mealy import Mealy
from fwplab.tables.numbers import percent

SIDE_BY_SIDE = 6
"""The largest number of states of two machines that are drawn side by side; larger ones are drawn below each other."""
MOST_STATES = 40
"""The largest machine that is extracted and drawn."""


@show_user_errors
def page() -> None:
    """Shows the page."""
    st.title("Automaton")
    if importlib.util.find_spec("aalpy") is None or importlib.util.find_spec("sklearn") is None:
        raise UserError("extraction needs AALpy and scikit-learn: pip install 'fwplab[extract]'")
    choice = choose_checkpoint()
    if choice is None:
        return
    left, right, button = st.columns([2, 2, 1], vertical_alignment="bottom")
    method: Method = left.selectbox(
        "method", METHODS, help="lstar and kv learn from the model's answers, states clusters its hidden states."
    )
    depth = number("depth, for a language that is not regular", 1, 20, 6, place=right)
    requested: set[tuple[Path, Method, int]] = st.session_state.setdefault("extracted", set())
    if button.button("extract", type="primary"):
        requested.add((choice.path, method, depth))
    if (choice.path, method, depth) not in requested:
        return
    with st.spinner("extracting the automaton"):
        found = _extraction(choice.path, choice.changed, method, depth)
    show(verdict(found), "good" if found.equivalent else "bad")
    if found.witness:
        show(
            f"On {found.witness} the last label of the extracted machine is {_last(found.machine, found.witness)}, "
            f"that of {choice.run.language} is {_last(found.true, found.witness)} (a dash: the position has no label)."
        )
    if found.kept is not None:
        show(f"{describe_kept(found.kept).capitalize()}.")
    wide = max(len(found.machine), len(found.true)) > SIDE_BY_SIDE
    places = [st.container(), st.container()] if wide else st.columns(2)
    for column, title, machine in zip(places, ("extracted", "true"), (found.machine, found.true), strict=True):
        column.subheader(f"{title}: {len(machine)} states")
        if len(machine) <= MOST_STATES:
            column.graphviz_chart(_coloured(machine))
        else:
            column.caption("Too many to draw.")
    rows = [
        {
            "length": each.length,
            "words": each.words,
            "positions with a label %": percent(each.asked),
            "labels of the model %": percent(each.with_model / each.words),
            "labels of the language %": percent(each.with_language / each.words),
        }
        for each in found.fidelity
    ]
    st.subheader("The machine on held-out words")
    st.dataframe(rows, hide_index=True)
    show(
        "The last two columns: words to which the machine gives exactly these labels. The extraction labelled "
        f"{found.queries:,} words with the model. In a terminal, fwplab extract also writes files.",
        "note",
    )


@for_all_sessions(16, long=True)
def _extraction(path: Path, changed: float, method: Method, depth: int) -> Extraction:
    model, run = model_of(path)
    return extract(model, run.task_language, method=method, depth=depth, most=MOST_STATES)


def _last(machine: Mealy, word: str) -> str:
    return machine.name_of(machine.output_after(word))


def _coloured(machine: Mealy) -> str:
    """The machine in the DOT language, in a grey that can be read on white and on black."""
    grey = '  bgcolor="transparent"; node [color="#888888", fontcolor="#888888"]; '
    grey += 'edge [color="#888888", fontcolor="#888888"];\n'
    return machine.to_dot().replace("digraph {\n", "digraph {\n" + grey, 1)
