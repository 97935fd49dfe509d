"""The specification of a training run, and the key under which its result is stored."""

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fwplab.data.tasks import for_task
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, Language, load_language
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.model.spec import ModelSpec
from fwplab.plugins.fingerprint import fingerprint
from fwplab.training.protocol import PROTOCOLS, RULES, SCHEDULES, STOPS, Protocol, Rule, Schedule, Stop

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
    """The name of the language."""
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
    code: str | None = None
    """The fingerprint of a mixer or language from another package, set automatically; None for those of fwplab."""

    def __post_init__(self) -> None:
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


def to_dict(spec: Any, *, defaults: bool = True) -> Any:
    """A spec as plain JSON values, a mixer with its name.

    `defaults=False` leaves out the fields that have their default value.
    """
    if isinstance(spec, MixerSpec):
        return {"name": MIXERS.name_of(type(spec)), **_fields(spec, defaults)}
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        return _fields(spec, defaults)
    if isinstance(spec, tuple | list):
        return [to_dict(item, defaults=defaults) for item in spec]
    return spec


def _fields(spec: Any, defaults: bool) -> dict[str, Any]:
    values = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if defaults or not _is_default(f, spec)}
    return {name: to_dict(value, defaults=defaults) for name, value in values.items()}


def _is_default(one: dataclasses.Field[Any], spec: Any) -> bool:
    factory = one.default_factory
    default = one.default if factory is dataclasses.MISSING else factory()
    return bool(getattr(spec, one.name) == default)


Spec = TypeVar("Spec")


def from_dict(kind: type[Spec], values: dict[str, Any]) -> Spec:
    """The inverse of `to_dict`, for a dataclass `kind`.

    Raises `UserError` for an unknown field, or a value of the wrong type.
    """
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise UserError(f"{kind.__name__} has no field {unknown[0]!r}; choose from: {', '.join(known) or 'none'}")
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if expected := _expected_type(hints[name], value):
            raise UserError(f"{name} of {kind.__name__} is {expected}, not {value!r}")
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _expected_type(hint: Any, value: Any) -> str:
    """The type that a number or a switch should have had, empty where it is right; any string would count as true."""
    if hint is bool and not isinstance(value, bool):
        return "true or false"
    if hint is int and (isinstance(value, bool) or not isinstance(value, int)):
        return "a whole number"
    return "a number" if hint is float and (isinstance(value, bool) or not isinstance(value, int | float)) else ""


def _value(hint: Any, value: Any) -> Any:
    if hint is MixerSpec:
        return mixer_from_dict(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        item_hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_value(item, v) for item, v in zip(item_hints, value, strict=True))
    if typing.get_origin(hint) in (types.UnionType, typing.Union) and value is not None:
        return _value(next(a for a in arguments if a is not type(None)), value)
    return value


def mixer_from_dict(values: dict[str, Any]) -> MixerSpec:
    """A mixer spec from its name and its switches."""
    switches = dict(values)
    return from_dict(MIXERS.load(switches.pop("name")), switches)


def mixer(name: str, /, **switches: Any) -> MixerSpec:
    """The spec of the mixer called `name` in the catalogue, its switches set by name.

    Raises `UserError` for a name or a switch that there is not, and for a switch's value of another type.

    >>> mixer("srwm", rate_bias=-2.0).rate_bias
    -2.0
    """
    return mixer_from_dict({"name": name, **switches})
