"""The specification of a training run, and the key under which its result is stored."""

import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from fwplab.data.splits import SplitSpec
from fwplab.data.tasks import for_task
from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, Language, load_language
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.model.model import Model, ModelSpec, build
from fwplab.plugins.fingerprint import fingerprint

FORMAT = 2
"""Part of every key. Raise it when a change, such as a new default, makes the same spec mean another computation."""

Schedule = Literal["constant", "cosine"]
SCHEDULES: tuple[Schedule, ...] = ("constant", "cosine")

Rule = Literal["paper", "strict", "last", "oracle"]
RULES: tuple[Rule, ...] = ("paper", "strict", "last", "oracle")
"""The rules that select a member's checkpoint.

- "paper": the best mean accuracy on Bin0 and Bin1. This is the paper's rule; it sees longer strings than training does.
- "strict": the best accuracy on Bin0, which holds in-distribution strings only.
- "last": the last checkpoint.
- "oracle": the best accuracy on the reported test strings. It is no valid result, but an upper bound on what a better
  selection could gain.
"""

Stop = Literal["both_bins", "in_distribution", "every_rule"]
STOPS: tuple[Stop, ...] = ("both_bins", "in_distribution", "every_rule")
"""The conditions that end a member's training early: see `Protocol.stop`."""


@dataclass(frozen=True)
class Protocol:
    """How the members of a run are trained, when their training ends, and which checkpoint is reported.

    A check evaluates a member on Bin0 (lengths of training) and Bin1 (longer strings). There is one every `check_every`
    steps, one at the end of each epoch, and one after the last step.
    """

    selection: Rule = "paper"
    """The rule that selects the reported checkpoint."""
    stop: Stop = "both_bins"
    """The condition that ends a member's training early.

    - "both_bins": Bin0 and Bin1 are both at 100 % for `patience` checks in a row.
    - "in_distribution": Bin0 is at 100 % for `patience` checks in a row. Bin1 is recorded, but decides nothing.
    - "every_rule": both bins have been at 100 % at one check, and "in_distribution" has been fulfilled once. The rules
      "strict" and "last" ignore all checks after that second event. So one training serves every rule, and these two
      never depend on longer strings.
    """
    patience: int = 1
    """The number of consecutive checks at 100 % that `stop` requires."""
    oracle: bool = False
    """Whether each check also evaluates the reported test strings, for the rule "oracle"."""
    max_steps: int = 5_000
    """The number of steps after which training ends in any case."""
    schedule: Schedule = "constant"
    """The course of the learning rate: "constant", or "cosine" (half a cosine, which is zero at `max_steps`)."""
    batch_size: int = 64
    """The number of strings in a batch."""
    check_every: int = 50
    """The number of steps between two checks."""
    beta1: float = 0.9
    """Adam's decay rate of the mean of the gradients."""
    beta2: float = 0.995
    """Adam's decay rate of the mean of the squared gradients."""
    epsilon: float = 1e-9
    """Adam's constant in the denominator."""
    average: float = 0.0
    """The decay of an exponential moving average of the weights, which checks evaluate and checkpoints hold; 0 for the
    weights themselves. See `fwplab.training.averaging`."""
    splits: SplitSpec = field(default_factory=SplitSpec)
    """How many strings of which lengths are trained on, validated on and tested on."""

    def __post_init__(self) -> None:
        for name in ("patience", "max_steps", "batch_size", "check_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be a positive whole number, not {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise UserError(f"average must be 0 (off), or a decay below 1 such as 0.99, not {self.average}")
        for name, choices in (("selection", self.rules), ("stop", STOPS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; choose from: {', '.join(choices)}")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The selection rules that this protocol has checkpoints for."""
        return RULES if self.oracle else tuple(rule for rule in RULES if rule != "oracle")

    def rate_factor(self, step: int) -> float:
        """The factor in (0, 1] of the learning rate, for the step that follows `step` finished ones."""
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * step / self.max_steps)) / 2


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(),
    "strict": Protocol(selection="strict", stop="in_distribution", patience=10),
}
"""The paper's protocol, and a strict one in which longer strings neither select a checkpoint nor end a training."""


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

    def build(self, seed: int) -> Model:
        """The freshly initialised model of one member. Its vocabulary is the alphabet and one padding symbol."""
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
