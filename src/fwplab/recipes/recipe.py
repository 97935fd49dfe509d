"""Recipes: the hyperparameters of each cell, in the files `<language>/<mixer>.json` of this folder."""

import json
from dataclasses import dataclass, field, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fwplab.errors import UserError
from fwplab.files import replaced
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.model.model import ModelSpec
from fwplab.recipes.history import History
from fwplab.training.run import Protocol, Run, Schedule
from fwplab.training.spec import from_json, to_dict

PROTOCOL = Protocol(stop="every_rule", patience=10, oracle=True)
"""The protocol of all recipes, which serves every selection rule. A recipe sets the fields in `BUDGET`."""
BUDGET = ("batch_size", "max_steps", "schedule", "check_every")
"""The fields of the protocol that a recipe sets."""


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of one cell.

    Searches use other seeds than those that a table reports, and other strings if the language has enough.
    """

    language: str
    """The name of the language."""
    mixer: MixerSpec
    """The mixer, with its switches."""
    model: ModelSpec
    """The shape of the model."""
    learning_rate: float
    """The learning rate."""
    batch_size: int
    """The number of strings in a batch."""
    max_steps: int
    """The most training steps."""
    schedule: Schedule = "cosine"
    """The course of the learning rate."""
    check_every: int = 1_000_000
    """The number of steps between two evaluations of the bins, besides one at the end of each epoch."""
    found_by: History = field(default_factory=History)
    """Where these values come from."""

    @classmethod
    def of(cls, run: Run, found_by: History) -> "Recipe":
        """The recipe with the hyperparameters of a run."""
        budget = {name: getattr(run.protocol, name) for name in BUDGET}
        return cls(run.language, run.mixer, run.model, run.learning_rates[0], **budget, found_by=found_by)

    def run(self, seeds: tuple[int, ...], protocol: Protocol = PROTOCOL) -> Run:
        """The run that trains this cell."""
        budget = {name: getattr(self, name) for name in BUDGET}
        rates = (self.learning_rate,)
        return Run(self.language, self.mixer, seeds, rates, self.model, replace(protocol, **budget))


def has_recipe(language: str, mixer: str) -> bool:
    """Whether the package has a recipe for this cell; both are names of the catalogues."""
    return _file(language, mixer).is_file()


def _file(language: str, mixer: str) -> Traversable:
    return files("fwplab") / "recipes" / language / f"{mixer}.json"


def recipe(language: str, mixer: str) -> Recipe:
    """The recipe of a cell. Raises `UserError`, which says how to make one, if there is none."""
    language, mixer = LANGUAGES.name_of(LANGUAGES.load(language)), MIXERS.name_of(MIXERS.load(mixer))
    place = _file(language, mixer)
    if not place.is_file():
        raise UserError(
            f"no recipe for {mixer} on {language}; make one: fwplab search --language {language} --mixer {mixer}"
        )
    return from_json(Recipe, place.read_text("utf-8"))


def write_recipe(found: Recipe, path: Path) -> None:
    """Writes a recipe as JSON. The file appears only once it is complete."""
    values: dict[str, Any] = to_dict(found)
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
