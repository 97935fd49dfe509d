"""Recipes: the hyperparameters of each cell.

The files `<language>/<mixer>.json` of this folder have one for a cell. Those of the folder `shared` have one for
several languages. A mixer has a second recipe on a language if another start than the published one learns what that
one does not; `Recipe.start` names it.
"""

import json
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fwplab.errors import UserError
from fwplab.files import replaced
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.model.spec import ModelSpec
from fwplab.recipes.history import History
from fwplab.training.run import Protocol, Run, Schedule
from fwplab.training.spec import from_dict, from_json, to_dict

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
    start: str = ""
    """The name of the start or of the way of training; empty for the published one."""
    trained_as: MixerSpec | None = None
    """The mixer of the members during training, which are folded into `mixer` (see `Run.trained_as`)."""

    @classmethod
    def of(cls, run: Run, found_by: History) -> "Recipe":
        """The recipe with the hyperparameters of a run."""
        budget = {name: getattr(run.protocol, name) for name in BUDGET}
        rate, trained_as = run.learning_rates[0], run.trained_as
        return cls(run.language, run.mixer, run.model, rate, **budget, found_by=found_by, trained_as=trained_as)

    def run(self, seeds: tuple[int, ...], protocol: Protocol = PROTOCOL) -> Run:
        """The run that trains this cell."""
        budget = {name: getattr(self, name) for name in BUDGET}
        rates, protocol = (self.learning_rate,), replace(protocol, **budget)
        return Run(self.language, self.mixer, seeds, rates, self.model, protocol, trained_as=self.trained_as)


def recipes(language: str, mixer: str) -> tuple[Recipe, ...]:
    """All recipes of a cell: its own first, then the shared ones. Both arguments are names of the catalogues."""
    place = _folder() / language / f"{mixer}.json"
    own = (from_json(Recipe, place.read_text("utf-8")),) if place.is_file() else ()
    return own + shared_recipes(language, mixer)


def shared_recipes(language: str, mixer: str) -> tuple[Recipe, ...]:
    """The recipes of a cell that serve several languages, or another start than the published one."""
    return tuple(each for each in _shared() if (each.language, MIXERS.name_of(type(each.mixer))) == (language, mixer))


def recipe_of(run: Run) -> Recipe | None:
    """The recipe that a run follows in all but its seeds; None if it follows none."""
    one = run.member(run.seeds[0])
    return next((each for each in recipes(run.language, run.mixer_name) if each.run(one.seeds) == one), None)


@cache
def _shared() -> tuple[Recipe, ...]:
    found = []
    for place in sorted((_folder() / "shared").iterdir(), key=lambda each: each.name):
        values = json.loads(place.read_text("utf-8"))
        languages = values.pop("languages")
        found += [from_dict(Recipe, {"language": language, **values}) for language in languages]
    return tuple(found)


def _folder() -> Traversable:
    return files("fwplab") / "recipes"


def recipe(language: str, mixer: str) -> Recipe:
    """The first recipe of a cell. Raises `UserError`, which says how to make one, if there is none."""
    language, mixer = LANGUAGES.name_of(LANGUAGES.load(language)), MIXERS.name_of(MIXERS.load(mixer))
    found = recipes(language, mixer)
    if not found:
        raise UserError(
            f"no recipe for {mixer} on {language}; make one: fwplab search --language {language} --mixer {mixer}"
        )
    return found[0]


def write_recipe(found: Recipe, path: Path) -> None:
    """Writes a recipe as JSON. The file appears only once it is complete."""
    values: dict[str, Any] = to_dict(found)
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
