"""What the pages share: records, checkpoints, the chosen cell, and how an error looks."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import ParamSpec

import streamlit as st

from fwplab.archive import shipped, shipped_checkpoints
from fwplab.checkpoint import read_header
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS
from fwplab.record import Record
from fwplab.run import Rule, Run, from_dict
from fwplab.store import Store
from fwplab.studies import STUDIES
from fwplab.studies.study import finished

Arguments = ParamSpec("Arguments")
RULES: tuple[Rule, ...] = ("paper", "strict", "last", "oracle")
FRESH_SECONDS = 10
"""For how long a page shows the records that it has read before it looks again."""


def answered(page: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """A page, or a part of one, on which wrong input is answered in one line, as on the command line."""

    @wraps(page)
    def shown(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            page(*args, **kwargs)
        except UserError as error:
            st.error(str(error))

    return shown


def study_records(name: str, quick: bool) -> list[Record]:
    """The finished records of a study, own and shipped."""
    return _study_records(name, quick, _changed())


@lru_cache(maxsize=4)
def _study_records(name: str, quick: bool, changed: float) -> list[Record]:
    study = STUDIES.load(name)()
    with Store() as own, shipped(study.records_of or name) as others:
        return finished(study.runs(quick=quick), (own, others))


def _changed() -> float:
    """Another number when the store may have changed: its file has, or, for a server, some seconds have passed."""
    if "FWPLAB_STORE" in os.environ:
        return time.monotonic() // FRESH_SECONDS
    return max((path.stat().st_mtime for path in home().glob("records.sqlite*")), default=0.0)


def cell_records(language: str, mixer: str) -> list[Record]:
    """All finished records of a cell, whichever study they belong to; one's own first."""
    return _cell_records(language, mixer, _changed())


@lru_cache(maxsize=128)
def _cell_records(language: str, mixer: str, changed: float) -> list[Record]:
    with Store() as own:
        found = own.records(language=language, mixer=mixer)
    keys = {record.run.key for record in found}
    others = [r for r in _shipped_records() if (r.run.language, r.run.mixer_name) == (language, mixer)]
    return found + [record for record in others if record.run.key not in keys]


@lru_cache(maxsize=1)
def _shipped_records() -> list[Record]:
    with shipped("irie2023") as others:
        return others.records()


def specs() -> dict[str, Run]:
    """The specs of all finished runs by key, those that come with the package first."""
    with Store() as own:
        found = [*(record.run for record in _shipped_records()), *own.specs()]
    return {run.key: run for run in found}


@dataclass(frozen=True)
class Choice:
    """A checkpoint that can be chosen: a file that fwplab itself keeps, and what its header says."""

    path: Path
    run: Run
    seed: int
    rule: Rule
    step: int
    shipped: bool

    @property
    def changed(self) -> float:
        """When the file was written; a `UserError` where it has gone."""
        try:
            return self.path.stat().st_mtime
        except FileNotFoundError as error:
            raise UserError(f"the checkpoint of run {self.run.key} has been removed") from error

    @property
    def label(self) -> str:
        """One line to choose it by."""
        shape = self.run.model
        origin = "shipped" if self.shipped else f"run {self.run.key}"
        return (
            f"seed {self.seed}, {self.rule} rule, step {self.step:,}: {shape.layers} x {shape.hidden}, "
            f"{shape.heads} heads, {origin}"
        )


@st.cache_resource(ttl=FRESH_SECONDS, show_spinner=False)
def checkpoints() -> tuple[list[Choice], list[str]]:
    """The checkpoints in `FWPLAB_HOME` and in the package, and one line for each file that is broken."""
    found, broken = [], []
    own = [(path, False) for path in sorted((home() / "runs").glob("*/seed-*.safetensors"))]
    with_package = [(path, True) for path in shipped_checkpoints()]
    for path, is_shipped in own + with_package:
        try:
            facts = read_header(path)
            run = from_dict(Run, facts["run"])
            found.append(Choice(path, run, facts["seed"], facts["rule"], facts["step"], is_shipped))
        except (UserError, KeyError) as error:
            broken.append(str(error))
    found.sort(key=lambda choice: (choice.run.language, choice.run.mixer_name, choice.seed, RULES.index(choice.rule)))
    return found, broken


PREFERRED = {"language": "parity", "mixer": "recurrent-delta"}
"""What a page shows before anybody has chosen."""


def choose(label: str, options: list[str], name: str) -> str:
    """A select box whose choice other pages see and keep, under `name`."""
    before = st.session_state.get(name, PREFERRED.get(name))
    index = options.index(before) if before in options else 0
    chosen: str = st.selectbox(label, options, index=index, key=f"box-{name}-{label}")
    st.session_state[name] = chosen
    return chosen


def choose_cell(languages: list[str] | None = None, mixers: list[str] | None = None) -> tuple[str, str]:
    """The language and the mixer that all pages look at."""
    left, right = st.columns(2)
    with left:
        language = choose("language", languages or LANGUAGES.names(), "language")
    with right:
        mixer = choose("mixer", mixers or MIXERS.names(), "mixer")
    return language, mixer


def choose_checkpoint() -> Choice | None:
    """The checkpoint to look into; None, and a word on how to get one, if there is none."""
    found, broken = checkpoints()
    for line in broken:
        st.warning(line)
    if not found:
        st.info("No checkpoint yet. In a terminal: `fwplab train --language parity --mixer recurrent-delta --seeds 3`")
        return None
    first, second, third = st.columns([1, 1, 2])
    with first:
        spoken = choose("language", sorted({choice.run.language for choice in found}), "language")
    of_language = [choice for choice in found if choice.run.language == spoken]
    with second:
        mixer = choose("mixer", sorted({choice.run.mixer_name for choice in of_language}), "mixer")
    choices = [choice for choice in of_language if choice.run.mixer_name == mixer]
    index = third.selectbox("checkpoint", range(len(choices)), format_func=lambda place: choices[place].label)
    return choices[index]


def go(page: str) -> None:
    """To another page."""
    st.switch_page(st.session_state["pages"][page])
