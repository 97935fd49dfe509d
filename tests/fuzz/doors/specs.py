"""Specs and recipes as JSON text."""

from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tests.fuzz.door import Door
from tests.fuzz.values import json_texts, json_values

from fwplab.mixers import MIXERS
from fwplab.model.spec import ModelSpec
from fwplab.recipes.history import Attempt, History, Searched
from fwplab.recipes.recipe import Recipe, write_recipe
from fwplab.recipes.space import Space
from fwplab.training.protocol import Protocol
from fwplab.training.run import Run
from fwplab.training.spec import from_dict, from_json, to_dict

SEARCHED = Searched("parity/lstm", 3, 1, 2, 640, 0.5, "paper", Space(), 50, 0, 1, "tpe 4.9")
HISTORY = History(SEARCHED, ("a note",), (Attempt("a start", "no better", trials=3),))
SMALL = ModelSpec(hidden=4, layers=1, heads=2)


@cache
def runs() -> tuple[Any, ...]:
    """A small run of every mixer, as JSON values."""
    return tuple(to_dict(Run("parity", MIXERS.load(name)(), (0, 1), model=SMALL)) for name in MIXERS.names())


@cache
def recipes() -> tuple[Any, ...]:
    """A recipe of some mixers, as JSON values."""
    names = ("lstm", "srwm", "delta-product")
    return tuple(
        to_dict(Recipe("dyck_1", MIXERS.load(name)(), SMALL, 1e-3, 32, 100, found_by=HISTORY)) for name in names
    )


def read_run(text: str, folder: Path) -> None:
    """A run is read, and is the same after it was written again."""
    run = from_json(Run, text)
    assert from_dict(Run, to_dict(run)) == run
    assert len(run.key) == 16
    run.protocol.rate_factor(1)


def build_run(text: str, folder: Path) -> None:
    """A run is read, and its model is built."""
    run = from_json(Run, text)
    run.build(run.seeds[0]).parameter_count()


def read_recipe(text: str, folder: Path) -> None:
    """A recipe is read, written and shown."""
    recipe = from_json(Recipe, text)
    write_recipe(recipe, folder / "recipe.json")
    assert from_json(Recipe, (folder / "recipe.json").read_bytes()) == recipe
    recipe.run((0,))
    recipe.found_by.summary(recipe.language)
    recipe.found_by.lines()


def read_protocol(values: Any, folder: Path) -> None:
    """A protocol and a model's shape, from any JSON value."""
    for kind in (Protocol, ModelSpec, History, Space):
        from_dict(kind, values)


def _texts(values: tuple[Any, ...]) -> Any:
    return st.sampled_from(values).flatmap(json_texts)


PARTS = json_values | st.dictionaries(st.sampled_from(("hidden", "layers", "notes", "splits")), json_values)
DOORS = (
    Door("runs as JSON", st.deferred(lambda: _texts(runs())), read_run, 8_000, 40),
    Door("runs that are built", st.deferred(lambda: _texts(runs())), build_run, 4_000, 30),
    Door("recipes as JSON", st.deferred(lambda: _texts(recipes())), read_recipe, 6_000, 40),
    Door("parts of specs", PARTS, read_protocol, 4_000, 40),
)
