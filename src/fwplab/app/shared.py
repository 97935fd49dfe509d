"""What the pages share: records, checkpoints, the selected language and mixer, and the display of errors."""

import os
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import streamlit as st

from fwplab.app.sharing import for_all_sessions, turn
from fwplab.app.text import show
from fwplab.errors import UserError
from fwplab.files import home
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS
from fwplab.model.model import Model
from fwplab.storage.archive import shipped, shipped_checkpoints
from fwplab.storage.store import Store, left_out
from fwplab.studies.irie2023 import Irie2023
from fwplab.studies.study import finished
from fwplab.tables.rows import Row
from fwplab.training.checkpoint import load_checkpoint, read_header
from fwplab.training.record import Record
from fwplab.training.run import Rule, Run
from fwplab.training.spec import from_dict

Arguments = ParamSpec("Arguments")
RULES: tuple[Rule, ...] = ("paper", "strict", "last", "oracle")
CACHE_SECONDS = 10
"""How long a page may show a list of files, or the records of a database server, before it is read again."""
MOST_LEFT_OUT = 20
MOST_CHECKPOINTS = 20_000
"""How many checkpoints are known without reading them again."""


def show_user_errors(page: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Decorates a page, or a part of one, so that it shows a `UserError` as one line, and is drawn in its turn."""

    @wraps(page)
    def decorated(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        with turn():
            try:
                page(*args, **kwargs)
            except UserError as error:
                show(error, "bad")

    return decorated


def _clock() -> Hashable:
    """A number that changes every `CACHE_SECONDS`."""
    return time.monotonic() // CACHE_SECONDS


def _store_version() -> Hashable:
    """What changes when the store's file changes, or, for a database server, every `CACHE_SECONDS`.

    SQLite's log counts only if there is something in it: reading creates and removes an empty one.
    """
    if "FWPLAB_STORE" in os.environ:
        return _clock()
    files: list[Hashable] = []
    for name in ("records.sqlite", "records.sqlite-wal"):
        try:
            found = (home() / name).stat()
        except OSError:
            continue
        if found.st_size:
            files.append((name, found.st_mtime_ns, found.st_size))
    return str(home()), *files


Found = tuple[list[Record], list[str]]
"""Records, and a line about each that cannot be read and is left out."""


@for_all_sessions(4, _store_version)
def study_records(quick: bool) -> Found:
    """The finished records of the study irie2023, or of its quick part, from the user's store and from the package."""
    study = Irie2023()
    with left_out() as bad, Store() as own, shipped(*study.records_of) as others:
        return finished(study.runs(quick=quick), (own, others)), bad


@for_all_sessions(16, _store_version)
def table_rows(quick: bool, rule: Rule) -> Sequence[Row]:
    """The rows of the table of the study irie2023, or of its quick part."""
    return Irie2023().rows(study_records(quick)[0], rule)


@for_all_sessions(256, _store_version)
def cell_rows(language: str, mixer: str) -> Sequence[Row]:
    """The rows of a language and a mixer in the table of the study irie2023."""
    records, _ = study_records(False)
    return Irie2023().rows([r for r in records if (r.run.language, r.run.mixer_name) == (language, mixer)])


def cell_records(language: str, mixer: str) -> Found:
    """All finished records of a language and a mixer, of any study; those of the user's store come first."""
    found, bad = _own_records(language, mixer)
    keys = {record.run.key for record in found}
    others = [r for r in _shipped_records() if (r.run.language, r.run.mixer_name) == (language, mixer)]
    return found + [record for record in others if record.run.key not in keys], bad


@for_all_sessions(32, _store_version)
def _own_records(language: str, mixer: str) -> Found:
    with left_out() as bad, Store() as own:
        return own.records(language=language, mixer=mixer), bad


@for_all_sessions(1)
def _shipped_records() -> list[Record]:
    with shipped(*Irie2023.records_of) as others:
        return others.records()


def specs() -> dict[str, Run]:
    """The specifications of all finished runs by key; those of the package come first."""
    return {run.key: run for run in (*(record.run for record in _shipped_records()), *_own_specs())}


@for_all_sessions(1, _store_version)
def _own_specs() -> list[Run]:
    with left_out(), Store() as own:  # the page of their cell names them
        return own.specs()


def show_left_out(lines: Sequence[str]) -> None:
    """Shows what is left out on a page, and of many only some."""
    for line in lines[:MOST_LEFT_OUT]:
        show(line, "warning")
    if len(lines) > MOST_LEFT_OUT:
        show(f"{len(lines) - MOST_LEFT_OUT:,} more are left out; fwplab runs names all.", "warning")


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


@for_all_sessions(1, _clock)
def checkpoints() -> tuple[list[Choice], list[str]]:
    """The checkpoints in `FWPLAB_HOME` and in the package, and an error message for each file that is broken."""
    found, broken = [], []
    own = [(path, False) for path in sorted((home() / "runs").glob("*/seed-*.safetensors"))]
    with_package = [(path, True) for path in shipped_checkpoints()]
    for path, is_shipped in own + with_package:
        try:
            facts = path.stat()
            found.append(_choice(path, is_shipped, facts.st_mtime_ns, facts.st_size))
        except FileNotFoundError:  # removed in the meantime
            continue
        except UserError as error:
            broken.append(str(error))
    found.sort(key=lambda choice: (choice.run.language, choice.run.mixer_name, choice.seed, RULES.index(choice.rule)))
    return found, broken


@for_all_sessions(MOST_CHECKPOINTS)
def _choice(path: Path, is_shipped: bool, changed: int, size: int) -> Choice:
    """The checkpoint in a file, of which the whole is read for its checksum. `changed` and `size` are those of it."""
    header = read_header(path)
    if "rule" not in header:
        raise UserError(f"{path} is no checkpoint of a finished run")
    run = from_dict(Run, header["run"])
    return Choice(path, run, header["seed"], header["rule"], header["step"], is_shipped)


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
    show_left_out(broken)
    if not found:
        show(
            "No checkpoint yet. In a terminal: fwplab train --language parity --mixer recurrent-delta --seeds 3",
            "information",
        )
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


def number(label: str, least: int, most: int, value: int, *, place: Any = st, **options: Any) -> int:
    """A field for a whole number. A browser keeps to the bounds; another program may not, so that they are kept here.

    place: the column; by default the page.
    """
    return min(max(int(place.number_input(label, least, most, value, **options)), least), most)


def model_of(path: Path) -> tuple[Model, Run]:
    """The model in a checkpoint, and its run. Raises `UserError`, with the file's name, if there is none."""
    checkpoint = load_checkpoint(path)
    try:
        return checkpoint.model(), checkpoint.run
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def go(page: str) -> None:
    """Opens another page."""
    st.switch_page(st.session_state["pages"][page])
