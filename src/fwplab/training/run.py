"""The specification of a training run, and the key under which its result is stored."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fwplab.data.tasks import for_task
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, Language, load_language
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.model.spec import ModelSpec
from fwplab.plugins.fingerprint import fingerprint
from fwplab.training.protocol import PROTOCOLS, RULES, SCHEDULES, STOPS, Protocol, Rule, Schedule, Stop
from fwplab.training.spec import from_dict, mixer_from_dict, to_dict

if TYPE_CHECKING:
    from fwplab.model.model import Model

__all__ = [
    "FORMAT",
    "PROTOCOLS",
    "RULES",
    "SCHEDULES",
    "STOPS",
    "Protocol",
    "Rule",
    "Run",
    "Schedule",
    "Stop",
    "from_dict",
    "mixer",
    "mixer_from_dict",
    "to_dict",
]

FORMAT = 2
"""Part of every key. Raise it when a change, such as a new default, makes the same spec mean another computation."""


@dataclass(frozen=True)
class Run:
    """One language, one model, one protocol, and one or more members: copies of the model with their own seeds."""

    language: str
    """The name of the language, or a definition such as `regex:(ab|ba)*`; `dfa:FILE` becomes the automaton itself."""
    mixer: MixerSpec
    """The sequence mixer of every layer, with its switches."""
    seeds: tuple[int, ...] = (0,)
    """One seed for each member; it determines the initial weights and the order of the training strings."""
    learning_rates: tuple[float, ...] = (1e-3,)
    """One learning rate for all members, or one for each."""
    model: ModelSpec = ModelSpec()
    """The shape of the model."""
    protocol: Protocol = Protocol()
    """How the members are trained and judged."""
    corpus: str | None = None
    """The imported corpus to train on in place of generated strings: its name and the digest of its contents."""
    population: Literal["stack", "loop"] = "stack"
    """How the members are trained: "stack" as one vectorised program, "loop" one after the other within each step.

    Both compute the same function, with different rounding errors.
    """
    trained_as: MixerSpec | None = None
    """The mixer that the members have during training; None for `mixer` itself. Each check folds the members into
    models with `mixer` (`fwplab.model.folding`), so that all results and checkpoints are of `mixer`."""
    code: str | None = None
    """The fingerprint of a mixer or language from another package, set automatically; None for those of fwplab."""

    def __post_init__(self) -> None:
        if ":" in self.language:  # the definition by value, and options in one order
            object.__setattr__(self, "language", LANGUAGES.known(self.language))
        here = self.code_here  # raises the UserError for an unknown language
        if self.code is None:
            object.__setattr__(self, "code", here)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError(f"a run needs at least one seed and each only once, not {self.seeds}")
        if min(self.seeds) < 0:
            raise UserError(f"a seed must not be negative: {min(self.seeds)}")
        if len(self.learning_rates) not in (1, len(self.seeds)):
            raise UserError(f"give one learning rate, or one for each of {len(self.seeds)} seeds")
        if not all(rate > 0 for rate in self.learning_rates):
            raise UserError(f"a learning rate must be positive, not {self.learning_rates}")
        if self.trained_as is not None:
            self._require_foldable(self.trained_as)

    def _require_foldable(self, trained_as: MixerSpec) -> None:
        """Raises `UserError` if models that are trained with this mixer cannot be folded into the run's own."""
        name, choices = MIXERS.name_of(type(trained_as)), trained_as.folds_into
        if self.mixer_name not in choices:
            raise UserError(f"{name} folds into {', '.join(choices) or 'no other mixer'}, not into {self.mixer_name}")
        if self.model.layers != 1 or self.mixer != type(self.mixer)():
            raise UserError(
                f"only one layer of {name} folds into {self.mixer_name}, and only into its published form: "
                "choose layers=1 and no switches of the mixer"
            )

    @cached_property
    def key(self) -> str:
        """The first sixteen hexadecimal digits of the spec's SHA-256, the same on every machine.

        Fields with their default value are left out, so that adding a field changes no existing key.
        """
        text = json.dumps({"format": FORMAT, **to_dict(self, defaults=False)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def code_here(self) -> str | None:
        """The fingerprint of the mixer and the language as they are installed now; compare it with `code`."""
        return fingerprint(type(self.mixer), LANGUAGES.load(self.language))

    @property
    def learner(self) -> "Run":
        """The run whose models are trained: this run, or the same with the mixer `trained_as`."""
        if self.trained_as is None:
            return self
        return dataclasses.replace(self, mixer=self.trained_as, trained_as=None)

    @property
    def mixer_name(self) -> str:
        """The mixer's name in the catalogue."""
        return MIXERS.name_of(type(self.mixer))

    @property
    def task_language(self) -> Language:
        """The language with the labels and classes of the run's task: what its models answer."""
        return for_task(load_language(self.language), self.protocol.splits.task)

    def rate_of(self, seed: int) -> float:
        """The learning rate of the member with this seed."""
        return self.learning_rates[self.seeds.index(seed) if len(self.learning_rates) > 1 else 0]

    def member(self, seed: int) -> "Run":
        """The run with this member only."""
        return dataclasses.replace(self, seeds=(seed,), learning_rates=(self.rate_of(seed),))

    def build(self, seed: int) -> "Model":
        """The freshly initialised model of one member. Its vocabulary is the alphabet and one padding symbol."""
        from fwplab.model.model import build  # imports PyTorch, which a spec does not need

        language = self.task_language
        return build(self.mixer, self.model, len(language.symbols) + 1, len(language.classes), seed)


def mixer(name: str, /, **switches: Any) -> MixerSpec:
    """The spec of the mixer called `name` in the catalogue, its switches set by name.

    Raises `UserError` for a name or a switch that there is not, and for a switch's value of another type.

    >>> mixer("srwm", rate_bias=-2.0).rate_bias
    -2.0
    """
    return mixer_from_dict({"name": name, **switches})
