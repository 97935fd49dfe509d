"""What the pages share: records, checkpoints, the selected language and mixer, and the display of errors."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import ParamSpec

import streamlit as st

from fwplab.errors import UserError
from fwplab.files import home
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS
from fwplab.storage.archive import shipped, shipped_checkpoints
from fwplab.storage.store import Store
from fwplab.studies import STUDIES
from fwplab.studies.irie2023 import Irie2023
from fwplab.studies.study import finished
from fwplab.training.checkpoint import read_header
from fwplab.training.record import Record
from fwplab.training.run import Rule, Run
from fwplab.training.spec import from_dict

Arguments = ParamSpec("Arguments")
RULES: tuple[Rule, ...] = ("paper", "strict", "last", "oracle")
CACHE_SECONDS = 10
"""How long a page may show a list of files, or the records of a database server, before it is read again."""


def show_user_errors(page: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Decorates a page, or a part of one, so that it shows a `UserError` as one line."""

    @wraps(page)
    def decorated(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            page(*args, **kwargs)
        except UserError as error:
            st.error(str(error))

    return decorated


def study_records(name: str, quick: bool) -> list[Record]:
    """The finished records of a study, from the user's store and from the package."""
    return _study_records(name, quick, _store_version())


@lru_cache(maxsize=4)
def _study_records(name: str, quick: bool, version: float) -> list[Record]:
    study = STUDIES.load(name)()
    with Store() as own, shipped(*(study.records_of or (name,))) as others:
        return finished(study.runs(quick=quick), (own, others))


def _store_version() -> float:
    """A number that changes when the store's file changes, or, for a database server, every `CACHE_SECONDS`."""
    if "FWPLAB_STORE" in os.environ:
        return time.monotonic() // CACHE_SECONDS
    return max((path.stat().st_mtime for path in home().glob("records.sqlite*")), default=0.0)


def cell_records(language: str, mixer: str) -> list[Record]:
    """All finished records of a language and a mixer, of any study; those of the user's store come first."""
    return _cell_records(language, mixer, _store_version())


@lru_cache(maxsize=128)
def _cell_records(language: str, mixer: str, version: float) -> list[Record]:
    with Store() as own:
        found = own.records(language=language, mixer=mixer)
    keys = {record.run.key for record in found}
    others = [r for r in _shipped_records() if (r.run.language, r.run.mixer_name) == (language, mixer)]
    return found + [record for record in others if record.run.key not in keys]


@lru_cache(maxsize=1)
def _shipped_records() -> list[Record]:
    with shipped(*Irie2023.records_of) as others:
        return others.records()


def specs() -> dict[str, Run]:
    """The specifications of all finished runs by key; those of the package come first."""
    with Store() as own:
        found = [*(record.run for record in _shipped_records()), *own.specs()]
    return {run.key: run for run in found}


@dataclass(frozen=True)
class Choice:
    """A checkpoint that the user can select."""

    path: Path
    """Its file."""
    run: Run
    """The run that it belongs to."""
    seed: int
    """The member's seed."""
    rule: Rule
    """The rule that selected it."""
    step: int
    """The number of training steps before it."""
    shipped: bool
    """Whether it comes with the package."""

    @property
    def changed(self) -> float:
        """The time of the file's last change. Raises `UserError` if the file has been removed."""
        try:
            return self.path.stat().st_mtime
        except FileNotFoundError as error:
            raise UserError(f"the checkpoint of run {self.run.key} has been removed") from error

    @property
    def label(self) -> str:
        """Its line in the select box."""
        shape = self.run.model
        origin = "shipped" if self.shipped else f"run {self.run.key}"
        return (
            f"seed {self.seed}, {self.rule} rule, step {self.step:,}: {shape.layers} x {shape.hidden}, "
            f"{shape.heads} heads, {origin}"
        )


@st.cache_resource(ttl=CACHE_SECONDS, show_spinner=False)
def checkpoints() -> tuple[list[Choice], list[str]]:
    """The checkpoints in `FWPLAB_HOME` and in the package, and an error message for each file that is broken."""
    found, broken = [], []
    own = [(path, False) for path in sorted((home() / "runs").glob("*/seed-*.safetensors"))]
    with_package = [(path, True) for path in shipped_checkpoints()]
    for path, is_shipped in own + with_package:
        try:
            header = read_header(path)
            run = from_dict(Run, header["run"])
            found.append(Choice(path, run, header["seed"], header["rule"], header["step"], is_shipped))
        except (UserError, KeyError) as error:
            broken.append(str(error))
    found.sort(key=lambda choice: (choice.run.language, choice.run.mixer_name, choice.seed, RULES.index(choice.rule)))
    return found, broken


PREFERRED = {"language": "parity", "mixer": "recurrent-delta"}
"""The initial selection."""


def choose(label: str, options: list[str], name: str) -> str:
    """A select box whose selection all pages share in the session state, under `name`."""
    before = st.session_state.get(name, PREFERRED.get(name))
    index = options.index(before) if before in options else 0
    chosen: str = st.selectbox(label, options, index=index, key=f"box-{name}-{label}")
    st.session_state[name] = chosen
    return chosen


def choose_cell(languages: list[str] | None = None, mixers: list[str] | None = None) -> tuple[str, str]:
    """Two select boxes; returns the language and the mixer, which all pages share."""
    left, right = st.columns(2)
    with left:
        language = choose("language", languages or LANGUAGES.names(), "language")
    with right:
        mixer = choose("mixer", mixers or MIXERS.names(), "mixer")
    return language, mixer


def choose_checkpoint() -> Choice | None:
    """Select boxes for a checkpoint. If there is none, it shows how to train one and returns None."""
    found, broken = checkpoints()
    for line in broken:
        st.warning(line)
    if not found:
        st.info("No checkpoint yet. In a terminal: `fwplab train --language parity --mixer recurrent-delta --seeds 3`")
        return None
    first, second, third = st.columns([1, 1, 2])
    with first:
        language = choose("language", sorted({choice.run.language for choice in found}), "language")
    of_language = [choice for choice in found if choice.run.language == language]
    with second:
        mixer = choose("mixer", sorted({choice.run.mixer_name for choice in of_language}), "mixer")
    choices = [choice for choice in of_language if choice.run.mixer_name == mixer]
    index = third.selectbox("checkpoint", range(len(choices)), format_func=lambda index: choices[index].label)
    return choices[index]


def go(page: str) -> None:
    """Opens another page."""
    st.switch_page(st.session_state["pages"][page])
