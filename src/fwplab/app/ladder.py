"""The heat map of languages by models; a cell opens its runs."""

import streamlit as st

from fwplab.app.shared import RULES, answered, go, study_records
from fwplab.run import Rule
from fwplab.studies.irie2023 import LANGUAGES, MODELS, Irie2023
from fwplab.tables.numbers import percent
from fwplab.tables.rows import Row
from fwplab.tables.statistics import spread

PARTS = {"irie2023": False, "irie2023 --quick": True}


@answered
def page() -> None:
    """The page."""
    st.title("What can a sequence model compute?")
    left, right = st.columns(2)
    part = left.selectbox("study", list(PARTS))
    rule: Rule = right.selectbox(
        "selection rule", RULES, help="Which checkpoint speaks for a run; strict sees no longer strings."
    )
    records = study_records("irie2023", PARTS[part])
    if not records:
        st.info(f"No run of this study is finished yet. First, in a terminal: `fwplab study run {part}`")
        return
    rows = {(row.language, row.mixer): row for row in Irie2023().rows(records, rule)}
    st.caption(
        "A cell: seeds whose selected checkpoint labels every string of Bin0 (lengths of training) and Bin1 (longer) "
        "right at every position, of all seeds; below it the median share of Bin1 strings that are right, percent, and "
        "what the better of two guesses scores. A click opens the runs."
    )
    st.html(f"<style>{''.join(_style(row) for row in rows.values())}</style>")
    widths = [1.1, *[1.0] * len(MODELS)]
    for place, name in zip(st.columns(widths, gap="small"), ("language", *MODELS), strict=True):
        place.markdown(f"**{name}**")
    for language in LANGUAGES:
        columns = st.columns(widths, gap="small", vertical_alignment="center")
        columns[0].markdown(f"**{language}**")
        for mixer, column in zip(MODELS, columns[1:], strict=True):
            with column:
                _cell(rows.get((language, mixer)), language, mixer)


def _cell(row: Row | None, language: str, mixer: str) -> None:
    text = "not run"
    if row:
        text = f"**{row.solved}/{row.seeds}**  \n{percent(spread(row.bin1).median)} ({percent(row.chance_bin1)})"
    if st.button(text, key=_name(language, mixer), width="stretch", disabled=row is None):
        st.session_state["language"], st.session_state["mixer"] = language, mixer
        go("runs")


def _name(language: str, mixer: str) -> str:
    return f"cell-{language}-{mixer}"


def _style(row: Row) -> str:
    """Darker where more seeds solve it; on the element that Streamlit names after the button's key."""
    share = row.solved / row.seeds
    name = _name(row.language, row.mixer)
    return f".st-key-{name} button {{ background: rgb(0 114 178 / {0.75 * share:.2f}); }}"
