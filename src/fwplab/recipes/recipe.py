"""What each cell of a table is trained with: one frozen spec a file, `<language>/<mixer>.json`, in the repository."""

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
from fwplab.training.run import Protocol, Run, Schedule, from_dict, to_dict

PROTOCOL = Protocol(stop="every_rule", patience=10, oracle=True)
"""One training that every selection rule can read; a recipe adds its budget."""
BUDGET = ("batch_size", "max_steps", "schedule", "check_every")
"""What of a protocol is a recipe's own."""


@dataclass(frozen=True)
class Recipe:
    """One cell. `check_every`: steps between two evaluations of the bins, besides one at each epoch's end.

    `found_by` says where the numbers come from. No search sees the seeds that a table reports, nor its strings where
    the language has others.
    """

    language: str
    mixer: MixerSpec
    model: ModelSpec
    learning_rate: float
    batch_size: int
    max_steps: int
    schedule: Schedule = "cosine"
    check_every: int = 1_000_000
    found_by: History = field(default_factory=History)

    @classmethod
    def of(cls, run: Run, found_by: History) -> "Recipe":
        """The recipe of a run's cell."""
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
    """The recipe of a cell; a `UserError` that says how to make one if there is none."""
    language, mixer = LANGUAGES.name_of(LANGUAGES.load(language)), MIXERS.name_of(MIXERS.load(mixer))
    place = _file(language, mixer)
    if not place.is_file():
        raise UserError(
            f"no recipe for {mixer} on {language}; make one: fwplab search --language {language} --mixer {mixer}"
        )
    return from_dict(Recipe, json.loads(place.read_text("utf-8")))


def write_recipe(found: Recipe, path: Path) -> None:
    """Writes `path` whole or not at all."""
    values: dict[str, Any] = to_dict(found)
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
