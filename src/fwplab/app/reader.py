"""A trace of a checkpoint on a string: at each position the labels, the state, its updates and its eigenvalues."""

from html import escape
from pathlib import Path

import numpy as np
import streamlit as st
import torch

from fwplab.app.drawing import captioned, complex_plane, curves, heat_map, narrowed, side_by_side, string_strip
from fwplab.app.shared import Choice, choose_checkpoint, model_of, number, show_user_errors
from fwplab.app.sharing import for_all_sessions
from fwplab.app.text import code, show
from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.mixers import Attention, Writes
from fwplab.model.trace import WINDOW, Layer, Reading, read, spectrum

FIRST_LENGTH = 24
LONGEST = 1_000_000
"""The longest string that is read."""
WIDEST = 900
"""The width of a wide picture in pixels. In a matrix with more columns, neighbouring columns are added up."""


@show_user_errors
def page() -> None:
    """Shows the page."""
    st.title("Reader")
    choice = choose_checkpoint()
    if choice is None:
        return
    string = _string(choice)
    with st.spinner("reading"):
        reading = _reading(choice.path, choice.changed, string)
    _outcome(reading)
    _walk(choice, string)


def _string(choice: Choice) -> str:
    """The string to read, which the user types or draws at random."""
    language = load_language(choice.run.language)
    name = f"string-{language.name}"
    if name not in st.session_state:
        st.session_state[name] = _random_word(language.name, FIRST_LENGTH, 0)
    left, middle, right = st.columns([4, 1, 1], vertical_alignment="bottom")
    length = number("length", 1, LONGEST, FIRST_LENGTH, place=middle)
    if right.button("draw a word"):
        draws = st.session_state["draws"] = st.session_state.get("draws", 0) + 1
        st.session_state[name] = _random_word(language.name, length, draws)
    string: str = left.text_input(f"string over {code(' '.join(language.symbols))}", max_chars=LONGEST, key=name)
    if len(string) > LONGEST:
        raise UserError(f"the string has {len(string):,} symbols; choose one of at most {LONGEST:,}")
    return string


def _random_word(name: str, length: int, seed: int) -> str:
    """A word of this length. If the language has none, it is of the next shorter, or else the next longer length."""
    language = load_language(name)
    lengths = language.lengths(1, length)[-1:] or language.lengths(length, length + 50)[:1]
    return language.sample(lengths, np.random.default_rng(seed))[0]


@for_all_sessions(8, long=True)
def _reading(path: Path, changed: float, string: str) -> Reading:
    model, run = model_of(path)
    return read(model, run.task_language, string)


def _outcome(reading: Reading) -> None:
    error = reading.first_error
    if error is None:
        show(f"All {len(reading.string)} labels are right.", "good")
    else:
        wrong = sum(a != b for a, b in zip(reading.expected, reading.predicted, strict=True))
        show(f"{wrong} of {len(reading.string)} labels are wrong, the first at position {error + 1}.", "bad")


@for_all_sessions(8)
def _layers(path: Path, changed: float, string: str, start: int) -> list[Layer]:
    return _reading(path, changed, string).layers(start)


@st.fragment
@show_user_errors
def _walk(choice: Choice, string: str) -> None:
    """The part of the page that is redrawn when the position changes."""
    reading = _reading(choice.path, choice.changed, string)
    last = len(reading.string)
    if st.session_state.get("position", 1) > last:
        st.session_state["position"] = last
    left, middle, right = st.columns([5, 1, 1], vertical_alignment="bottom")
    with left:
        at = st.slider("position (arrow keys step through)", 1, last, key="position") - 1 if last > 1 else 0
    layers = _layers(choice.path, choice.changed, string, at - at % WINDOW)
    index = middle.selectbox("layer", range(len(layers)), format_func=lambda number: f"layer {number + 1}")
    if reading.first_error is not None:
        right.button("to the first error", on_click=_go_to, args=(reading.first_error + 1,))
    layer = layers[index]
    shown = range(layer.start, layer.start + len(layer.inputs))
    st.html(string_strip(reading.string, reading.expected, reading.predicted, at, reading.first_error, shown))
    probabilities = ", ".join(f"{value:.3f}" for value in reading.probabilities[at].tolist())
    show(
        f"Position {at + 1}, symbol {reading.string[at]}: label {reading.expected[at]}, label of the model "
        f"{reading.predicted[at]} (probabilities of the classes: {probabilities}). "
        "Above: the string, its labels, the labels of the model.",
        "note",
    )
    if isinstance(layer.view, Writes):
        _fast_weights(layer, layer.view, at - layer.start)
    elif isinstance(layer.view, Attention):
        _attention(layer, layer.view, at - layer.start)
    else:
        _vectors(layer, at - layer.start)


def _go_to(position: int) -> None:
    st.session_state["position"] = position


def _fast_weights(layer: Layer, view: Writes, at: int) -> None:
    """For every head W before and after this symbol, and its update; then one head over time."""
    weights = torch.cat(layer.states[: len(view.blocks)], dim=-1)
    heads = weights.shape[1]
    cell = max(3.0, min(12.0, 110 / weights.shape[2], 230 / weights.shape[3]))
    st.html(side_by_side([_head(head, weights, view, at, cell) for head in range(heads)]))
    show(
        "Rows belong to the key, columns to the value"
        + (f" ({' | '.join(name for name, _ in view.blocks)})" if len(view.blocks) > 1 else "")
        + ". Orange is positive, blue negative; full colour is the largest absolute value of the head in this window. "
        "Kept is the eigenvalue of the update along its key; its other eigenvalues are 1.",
        "note",
    )
    head = st.radio("head", range(heads), format_func=lambda number: str(number + 1), horizontal=True)
    norms = weights[:, head].flatten(1).norm(dim=-1).tolist()
    lines = [
        curves({"|W|": norms[1:]}, at, "norm of the fast weights"),
        curves({n: view.rate[:, head, i].tolist() for i, n in enumerate(view.updates)}, at, "rate"),
        curves({n: view.kept[:, head, i].tolist() for i, n in enumerate(view.updates)}, at, "kept along the key"),
    ]
    st.html(side_by_side([*lines, _spectrum(layer, at, head)]))
    if st.toggle("W after this symbol, in numbers"):
        st.dataframe(weights[at + 1, head].numpy())


def _head(head: int, weights: torch.Tensor, view: Writes, at: int, cell: float) -> str:
    """One head at one position: query, key, W before, what is written and erased, W after."""
    before, after = weights[at, head], weights[at + 1, head]
    largest_weight = float(weights[:, head].abs().max())
    largest_update = max(float(view.wrote[:, head].abs().max()), float(view.erased[:, head].abs().max()))
    parts = (
        ("q", view.query[at, head, :, None], float(view.query[:, head].abs().max())),
        ("k", view.key[at, head].T, float(view.key[:, head].abs().max())),
        *(("W before", before, largest_weight), ("written", view.wrote[at, head], largest_update)),
        *(("erased", view.erased[at, head], largest_update), ("W after", after, largest_weight)),
    )
    pictures = [captioned(heat_map(part.numpy(), limit, name, cell=cell), name) for name, part, limit in parts]
    rates = "; ".join(
        f"{name}: rate {rate:.3f}, kept {kept:.3f}"
        for name, rate, kept in zip(view.updates, view.rate[at, head], view.kept[at, head], strict=True)
    )
    title = f"<div><b>head {head + 1}</b> <small>{escape(rates)}</small></div>"
    return f'<div style="margin:0 1.5rem .8rem 0">{title}{side_by_side(pictures)}</div>'


def _spectrum(layer: Layer, at: int, head: int) -> str:
    """A picture of the eigenvalues of the whole step of one head, or the reason why there are none."""
    try:
        eigenvalues = spectrum(layer, layer.start + at, head).numpy()
    except UserError as error:
        return f"<div><small>No eigenvalues of the whole step: {escape(str(error))}.</small></div>"
    lowest = float(eigenvalues.real.min())
    return complex_plane(eigenvalues, f"eigenvalues of the whole step, lowest real part {lowest:.3f}")


def _vectors(layer: Layer, at: int) -> None:
    """For a mixer whose state is vectors: the units over time."""
    pictures = []
    for name, part in layer.mixer.named_state(layer.states).items():
        values = part.flatten(1)[1:].T.numpy()
        cell = max(3.0, min(14.0, WIDEST / values.shape[1]))
        picture = heat_map(values, float(np.abs(values).max()), name, cell=cell, tall=6)
        left = at * cell
        place = f"position:absolute;top:0;bottom:0;left:{left:.0f}px;width:{cell:.0f}px;outline:2px solid"
        both = f'<div style="position:relative;width:max-content">{picture}<div style="{place}"></div></div>'
        pictures.append(captioned(both, f"{name}, a row a unit"))
    norm = curves({"norm": layer.norms[1:].tolist()}, at, "norm of the state")
    st.html(side_by_side([*pictures, norm, _spectrum(layer, at, 0)]))


def _attention(layer: Layer, view: Attention, at: int) -> None:
    """The attention of this position in every head; then the attention of one head over the window."""
    heads, time, _ = view.rows.shape
    seen = layer.start + at + 1
    here, columns = narrowed(view.rows[:, at, :seen].numpy(), WIDEST // 3), "a column a position"
    if here.shape[1] < seen:
        columns = f"a column {-(-seen // here.shape[1])} positions, added up"
    cell = max(3.0, min(14.0, WIDEST / here.shape[1]))
    picture = heat_map(here, float(here.max()), "attention", cell=cell, tall=14)
    st.html(captioned(picture, f"where this position attends: a row a head, {columns}"))
    head = st.radio("head", range(heads), format_func=lambda number: str(number + 1), horizontal=True)
    nearby = view.rows[head, :, layer.start :].numpy()
    whole = heat_map(nearby, 1.0, "attention", cell=max(1.0, min(18.0, 420 / time)))
    caption = f"head {head + 1}: a row a position, what it attends to in the columns"
    if layer.start:
        earlier = float(view.rows[head, at, : layer.start].sum())
        caption += f", from position {layer.start + 1}; {earlier:.3f} of this position's attention goes to earlier ones"
    norm = curves({"norm": layer.norms[1:].tolist()}, at, "norm of the keys and values so far")
    st.html(side_by_side([captioned(whole, caption), norm]))
