"""A checkpoint reads a string, one symbol after the other, and shows what it holds, writes and erases."""

from pathlib import Path

import numpy as np
import streamlit as st
import torch

from fwplab.app.drawing import captioned, complex_plane, curves, heat_map, side_by_side, string_strip
from fwplab.app.shared import Choice, answered, choose_checkpoint
from fwplab.checkpoint import load_checkpoint
from fwplab.errors import UserError
from fwplab.languages import language
from fwplab.mixers.view import Attention, Writes
from fwplab.reading import Layer, Reading, read, spectrum

LONGEST, LONGEST_GROWING = 5_000, 1_000
"""Symbols of a string: the page keeps every state, and for attention every pair of positions."""
SHOWN = 200
"""Symbols on the page at a time."""
FIRST_LENGTH = 24


@answered
def page() -> None:
    """The page."""
    st.title("Reader")
    choice = choose_checkpoint()
    if choice is None:
        return
    reading = _read(choice, _string(choice))
    _outcome(reading)
    _walk(reading)


def _string(choice: Choice) -> str:
    """The string to read: typed, or drawn from the language."""
    spoken = language(choice.run.language)
    name = f"string-{spoken.name}"
    if name not in st.session_state:
        st.session_state[name] = _drawn(spoken.name, FIRST_LENGTH, 0)
    left, middle, right = st.columns([4, 1, 1], vertical_alignment="bottom")
    length = middle.number_input("length", 1, LONGEST, FIRST_LENGTH)
    if right.button("draw a word"):
        draws = st.session_state["draws"] = st.session_state.get("draws", 0) + 1
        st.session_state[name] = _drawn(spoken.name, length, draws)
    string: str = left.text_input(f"string over {' '.join(spoken.symbols)}", key=name, max_chars=LONGEST)
    if len(string) > LONGEST_GROWING and not choice.run.mixer.constant_memory:
        raise UserError(f"{choice.run.mixer_name} keeps every position: up to {LONGEST_GROWING:,} symbols are shown")
    return string


def _drawn(name: str, length: int, seed: int) -> str:
    """A word of this length, or of the nearest shorter one (else longer) that the language has."""
    spoken = language(name)
    lengths = spoken.lengths(1, length)[-1:] or spoken.lengths(length, length + 50)[:1]
    return spoken.sample(lengths, np.random.default_rng(seed))[0]


def _read(choice: Choice, string: str) -> Reading:
    return _reading(choice.path, choice.changed, string)


@st.cache_resource(max_entries=8, show_spinner="reading")
def _reading(path: Path, changed: float, string: str) -> Reading:
    checkpoint = load_checkpoint(path)
    return read(checkpoint.model(), language(checkpoint.run.language), string)


def _outcome(reading: Reading) -> None:
    error = reading.first_error
    if error is None:
        st.success(f"All {len(reading.string)} labels are right.")
    else:
        wrong = sum(a != b for a, b in zip(reading.expected, reading.predicted, strict=True))
        st.error(f"{wrong} of {len(reading.string)} labels are wrong, the first at position {error + 1}.")


@st.fragment
@answered
def _walk(reading: Reading) -> None:
    """The part that is drawn anew at every step."""
    last = len(reading.string)
    if st.session_state.get("position", 1) > last:
        st.session_state["position"] = last
    left, right = st.columns([3, 1])
    with left:
        at = st.slider("position (arrow keys step through)", 1, last, key="position") - 1 if last > 1 else 0
    index = right.selectbox("layer", range(len(reading.layers)), format_func=lambda number: f"layer {number + 1}")
    shown = range(at - at % SHOWN, min(at - at % SHOWN + SHOWN, last))
    st.html(string_strip(reading.string, reading.expected, reading.predicted, at, reading.first_error, shown))
    said = ", ".join(f"{value:.3f}" for value in reading.probabilities[at].tolist())
    st.caption(
        f"Position {at + 1}, symbol {reading.string[at]}: the language says {reading.expected[at]}, the model "
        f"{reading.predicted[at]} (probabilities of the classes: {said}). Above: the string, its labels, the model's."
    )
    layer = reading.layers[index]
    if isinstance(layer.view, Writes):
        _fast_weights(layer, layer.view, at)
    elif isinstance(layer.view, Attention):
        _attention(layer.view, at, layer)
    else:
        _vectors(layer, at, shown)


def _fast_weights(layer: Layer, view: Writes, at: int) -> None:
    """W before and after this symbol, what it wrote and erased, a head; then one head in time."""
    weights = torch.cat(layer.states[: len(view.blocks)], dim=-1)
    heads = weights.shape[1]
    cell = max(3.0, min(12.0, 110 / weights.shape[2], 230 / weights.shape[3]))
    st.html(side_by_side([_head(head, weights, view, at, cell) for head in range(heads)]))
    st.caption(
        "Rows: the key's side, columns: the value's side"
        + (f" ({' | '.join(name for name, _ in view.blocks)})" if len(view.blocks) > 1 else "")
        + ". Orange is positive, blue negative; full colour is the largest number of the head on this string. "
        "Kept: the eigenvalue of the update along its key; all others are 1."
    )
    head = st.radio("head", range(heads), format_func=lambda number: str(number + 1), horizontal=True)
    names = [name for name, _ in view.blocks]
    norms = weights[:, head].flatten(1).norm(dim=-1).tolist()
    lines = [
        curves({"|W|": norms[1:]}, at, "norm of the fast weights"),
        curves({n: view.rate[:, head, i].tolist() for i, n in enumerate(names)}, at, "rate"),
        curves({n: view.kept[:, head, i].tolist() for i, n in enumerate(names)}, at, "kept along the key"),
    ]
    st.html(side_by_side([*lines, _spectrum(layer, at, head)]))
    if st.toggle("W after this symbol, in numbers"):
        st.dataframe(weights[at + 1, head].numpy())


def _head(head: int, weights: torch.Tensor, view: Writes, at: int, cell: float) -> str:
    """One head at one position: query, key, W before, what is written and erased, W after."""
    before, after = weights[at, head], weights[at + 1, head]
    held = float(weights[:, head].abs().max())
    moved = max(float(view.wrote[:, head].abs().max()), float(view.erased[:, head].abs().max()))
    parts = (
        ("q", view.query[at, head, :, None], float(view.query[:, head].abs().max())),
        ("k", view.key[at, head, :, None], float(view.key[:, head].abs().max())),
        *(("W before", before, held), ("written", view.wrote[at, head], moved)),
        *(("erased", view.erased[at, head], moved), ("W after", after, held)),
    )
    pictures = [captioned(heat_map(part.numpy(), limit, name, cell=cell), name) for name, part, limit in parts]
    facts = "; ".join(
        f"{name}: rate {rate:.3f}, kept {kept:.3f}"
        for (name, _), rate, kept in zip(view.blocks, view.rate[at, head], view.kept[at, head], strict=True)
    )
    title = f"<div><b>head {head + 1}</b> <small>{facts}</small></div>"
    return f'<div style="margin:0 1.5rem .8rem 0">{title}{side_by_side(pictures)}</div>'


def _spectrum(layer: Layer, at: int, head: int) -> str:
    """The eigenvalues of the whole step of one head; a sentence where there are none to be had."""
    try:
        eigenvalues = spectrum(layer, at, head).numpy()
    except UserError as error:
        return f"<div><small>No eigenvalues of the whole step: {error}.</small></div>"
    lowest = float(eigenvalues.real.min())
    return complex_plane(eigenvalues, f"eigenvalues of the whole step, lowest real part {lowest:.3f}")


def _vectors(layer: Layer, at: int, shown: range) -> None:
    """A state without matrices: units over time."""
    names = ("hidden", "cell") if len(layer.states) == 2 else tuple(f"state {n + 1}" for n in range(len(layer.states)))
    pictures = []
    for name, part in zip(names, layer.states, strict=True):
        values = part.flatten(1)[1:][shown.start : shown.stop].T.numpy()
        cell = max(3.0, min(14.0, 900 / values.shape[1]))
        picture = heat_map(values, float(np.abs(values).max()), name, cell=cell, tall=6)
        left = (at - shown.start) * cell
        place = f"position:absolute;top:0;bottom:0;left:{left:.0f}px;width:{cell:.0f}px;outline:2px solid"
        both = f'<div style="position:relative;width:max-content">{picture}<div style="{place}"></div></div>'
        pictures.append(captioned(both, f"{name}, a row a unit"))
    norm = curves({"norm": layer.norms[1:].tolist()}, at, "norm of the state")
    st.html(side_by_side([*pictures, norm, _spectrum(layer, at, 0)]))


def _attention(view: Attention, at: int, layer: Layer) -> None:
    """Where this position looks, a row a head; then all positions of one head."""
    heads, time, _ = view.rows.shape
    cell = max(3.0, min(14.0, 900 / time))
    here = heat_map(view.rows[:, at].numpy(), float(view.rows[:, at].max()), "attention", cell=cell, tall=14)
    st.html(captioned(here, "where this position attends: a row a head, a column a position"))
    head = st.radio("head", range(heads), format_func=lambda number: str(number + 1), horizontal=True)
    whole = heat_map(view.rows[head].numpy(), 1.0, "attention", cell=max(1.0, min(18.0, 420 / time)))
    norm = curves({"norm": layer.norms[1:].tolist()}, at, "norm of the keys and values so far")
    st.html(
        side_by_side([captioned(whole, f"head {head + 1}: a row a position, what it attends to in the columns"), norm])
    )
