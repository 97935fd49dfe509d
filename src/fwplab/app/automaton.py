"""The machine that a checkpoint is, beside the language's own, with the word that tells them apart."""

import importlib.util
from pathlib import Path

import streamlit as st

from fwplab.app.shared import answered, choose_checkpoint
from fwplab.checkpoint import load_checkpoint
from fwplab.errors import UserError
from fwplab.extraction.extract import METHODS, Extraction, Method, extract, reach, verdict
from fwplab.extraction.mealy import Mealy
from fwplab.table import percent

BESIDE = 6
"""Machines of more states stand below each other."""
DRAWN = 40
"""A larger machine is not looked for, and not drawn: nobody could read it."""


@answered
def page() -> None:
    """The page."""
    st.title("Automaton")
    if importlib.util.find_spec("aalpy") is None or importlib.util.find_spec("sklearn") is None:
        raise UserError("extraction needs AALpy and scikit-learn: pip install 'fwplab[extract]'")
    choice = choose_checkpoint()
    if choice is None:
        return
    left, right, button = st.columns([2, 2, 1], vertical_alignment="bottom")
    method: Method = left.selectbox(
        "method", METHODS, help="lstar and kv learn from the model's answers, states clusters what it carries."
    )
    depth = right.number_input("depth, of a language without end", 1, 20, 6)
    asked: set[tuple[Path, Method, int]] = st.session_state.setdefault("extracted", set())
    if button.button("extract", type="primary"):
        asked.add((choice.path, method, depth))
    if (choice.path, method, depth) not in asked:
        return
    found = _extraction(choice.path, choice.changed, method, depth)
    (st.success if found.equivalent else st.error)(verdict(found))
    if found.witness:
        st.markdown(
            f"On `{found.witness}` the extracted machine ends with {_last(found.machine, found.witness)}, "
            f"{choice.run.language} with {_last(found.true, found.witness)} (a dash where nothing is asked)."
        )
    if found.kept is not None:
        st.markdown(f"{reach(found.kept).capitalize()}.")
    wide = max(len(found.machine), len(found.true)) > BESIDE
    places = [st.container(), st.container()] if wide else st.columns(2)
    for column, title, machine in zip(places, ("extracted", "true"), (found.machine, found.true), strict=True):
        column.subheader(f"{title}: {len(machine)} states")
        if len(machine) <= DRAWN:
            column.graphviz_chart(_coloured(machine))
        else:
            column.caption("Too many to draw.")
    rows = [
        {
            "length": each.length,
            "words": each.words,
            "asked %": percent(each.asked),
            "as the model %": percent(each.with_model / each.words),
            "as the language %": percent(each.with_language / each.words),
        }
        for each in found.fidelity
    ]
    st.subheader("The machine on held-out words")
    st.dataframe(rows, hide_index=True)
    st.caption(f"{found.queries:,} words were asked. In a terminal: fwplab extract, with files to keep.")


@st.cache_resource(max_entries=16, show_spinner="asking the model")
def _extraction(path: Path, changed: float, method: Method, depth: int) -> Extraction:
    checkpoint = load_checkpoint(path)
    return extract(checkpoint.model(), checkpoint.run.task_language, method=method, depth=depth, most=DRAWN)


def _last(machine: Mealy, word: str) -> str:
    return machine.name_of(machine.output_after(word))


def _coloured(machine: Mealy) -> str:
    """Its DOT text in a grey that reads on white and on black."""
    grey = '  bgcolor="transparent"; node [color="#888888", fontcolor="#888888"]; '
    grey += 'edge [color="#888888", fontcolor="#888888"];\n'
    return machine.to_dot().replace("digraph {\n", "digraph {\n" + grey, 1)
