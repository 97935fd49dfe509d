"""The frozen spec of a training run, and its stable key."""

import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from fwplab.errors import UserError
from fwplab.languages import LANGUAGES, language
from fwplab.languages.splits import SplitSpec
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.model import Model, ModelSpec, build
from fwplab.outside import fingerprint

FORMAT = 2
"""Part of every key; raised when a change makes the same spec mean another computation, a new default above all."""

Schedule = Literal["constant", "cosine"]
SCHEDULES: tuple[Schedule, ...] = ("constant", "cosine")

Rule = Literal["paper", "strict", "last", "oracle"]
RULES: tuple[Rule, ...] = ("paper", "strict", "last", "oracle")
"""Which checkpoint of a run is read: the best mean of Bin0 and Bin1 (the paper's rule, which sees the longer strings),
the best on in-distribution validation alone, the last, or the best on the very strings that are reported (which no
honest number may use: it says how much there is to gain from selection)."""

Stop = Literal["both_bins", "in_distribution", "every_rule"]
STOPS: tuple[Stop, ...] = ("both_bins", "in_distribution", "every_rule")


@dataclass(frozen=True)
class Protocol:
    """How a run is trained, stopped and read.

    The bins are evaluated every `check_every` steps and at each epoch's end; such an evaluation is a check. `stop` says
    when a member ends:

    - "both_bins": when Bin0 and Bin1 have both been right at 100 % for `patience` checks in a row.
    - "in_distribution": when Bin0 alone has been so; Bin1 is then read by nothing but the record.
    - "every_rule": when the first has happened once, and the second too. The rules "strict" and "last" then read
      nothing after the check at which "in_distribution" would have ended, so that one training serves all rules and
      none sees another's strings.
    """

    selection: Rule = "paper"
    """The rule that speaks for the run."""
    stop: Stop = "both_bins"
    """When a member ends: both_bins, in_distribution or every_rule."""
    patience: int = 1
    """Checks in a row that must be right before training ends."""
    oracle: bool = False
    """Also score the strings beyond training length that are reported, for the rule of that name alone."""
    max_steps: int = 5_000
    """Steps of training at most."""
    schedule: Schedule = "constant"
    """The learning rate stays (constant), or falls to zero over max_steps as half a cosine (cosine)."""
    batch_size: int = 64
    """Strings a step."""
    check_every: int = 50
    """Steps between two evaluations of both bins, besides one at each epoch's end."""
    beta1: float = 0.9
    """Adam's decay of the mean gradient."""
    beta2: float = 0.995
    """Adam's decay of the mean squared gradient."""
    epsilon: float = 1e-9
    """Adam's smallest divisor."""
    splits: SplitSpec = field(default_factory=SplitSpec)
    """The strings."""

    def __post_init__(self) -> None:
        for name in ("patience", "max_steps", "batch_size", "check_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be a positive whole number, not {getattr(self, name)}")
        for name, choices in (("selection", self.rules), ("stop", STOPS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise UserError(f"unknown {name} {getattr(self, name)!r}; choose from: {', '.join(choices)}")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules under which the run can be read."""
        return RULES if self.oracle else tuple(rule for rule in RULES if rule != "oracle")

    def rate_factor(self, step: int) -> float:
        """What the learning rate of the step after `step` others is multiplied by, in (0, 1]."""
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * step / self.max_steps)) / 2


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(),
    "strict": Protocol(selection="strict", stop="in_distribution", patience=10),
}
"""The paper's protocol, and the one that a careful reader believes: no checkpoint is chosen, and no training ended, by
strings longer than those of training."""


@dataclass(frozen=True)
class Run:
    """One language, one mixer in one model, one protocol, and a population of members that differ in their seed.

    `learning_rates` holds one rate for all members or one for each. `corpus` names an imported corpus to train on in
    place of generated strings, by the digest of its contents. `population`: "stack" trains all members as one
    program, "loop" one after the other within each step; both are the same mathematics, not the same rounding.
    `code`, the fingerprint of a mixer or language from outside this package, fills itself in; None for those here.
    """

    language: str
    mixer: MixerSpec
    seeds: tuple[int, ...] = (0,)
    learning_rates: tuple[float, ...] = (1e-3,)
    model: ModelSpec = ModelSpec()
    protocol: Protocol = Protocol()
    corpus: str | None = None
    population: Literal["stack", "loop"] = "stack"
    code: str | None = None

    def __post_init__(self) -> None:
        here = self.code_here  # a name that no language has is told here
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
        """Sixteen hexadecimal digits of the spec's SHA-256; the same on every machine and in every session.

        Fields that have their default value are left out, so that a field that is added later changes no key.
        """
        text = json.dumps({"format": FORMAT, **to_dict(self, defaults=False)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def code_here(self) -> str | None:
        """What `code` would be of the mixer and the language as they are installed here and now."""
        return fingerprint(type(self.mixer), LANGUAGES.load(self.language))

    @property
    def mixer_name(self) -> str:
        """The mixer's name in the catalogue."""
        return MIXERS.name_of(type(self.mixer))

    def rate_of(self, seed: int) -> float:
        """The learning rate of the member with this seed."""
        return self.learning_rates[self.seeds.index(seed) if len(self.learning_rates) > 1 else 0]

    def member(self, seed: int) -> "Run":
        """The run of this member alone."""
        return dataclasses.replace(self, seeds=(seed,), learning_rates=(self.rate_of(seed),))

    def build(self, seed: int) -> Model:
        """The freshly initialised model of one member; one symbol beyond the alphabet is the padding."""
        spoken = language(self.language)
        return build(self.mixer, self.model, len(spoken.symbols) + 1, len(spoken.classes), seed)


def to_dict(spec: Any, *, defaults: bool = True) -> Any:
    """Plain JSON values of a spec; a mixer is written with its name, and fields that have their default value too
    unless `defaults` says otherwise."""
    if isinstance(spec, MixerSpec):
        return {"name": MIXERS.name_of(type(spec)), **_fields(spec, defaults)}
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        return _fields(spec, defaults)
    if isinstance(spec, tuple | list):
        return [to_dict(item, defaults=defaults) for item in spec]
    return spec


def _fields(spec: Any, defaults: bool) -> dict[str, Any]:
    shown = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if defaults or not _is_default(f, spec)}
    return {name: to_dict(value, defaults=defaults) for name, value in shown.items()}


def _is_default(one: dataclasses.Field[Any], spec: Any) -> bool:
    factory = one.default_factory
    default = one.default if factory is dataclasses.MISSING else factory()
    return bool(getattr(spec, one.name) == default)


Spec = TypeVar("Spec")


def from_dict(kind: type[Spec], values: dict[str, Any]) -> Spec:
    """The inverse of `to_dict` for a dataclass `kind`; a `UserError` names fields that it does not have."""
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise UserError(f"{kind.__name__} has no field {unknown[0]!r}; choose from: {', '.join(known) or 'none'}")
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if wrong := _wrong(hints[name], value):
            raise UserError(f"{name} of {kind.__name__} is {wrong}, not {value!r}")
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


def _wrong(hint: Any, value: Any) -> str:
    """What a value should have been: a word in the place of a switch would count as true."""
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
    """A mixer spec from its name and switches."""
    switches = dict(values)
    return from_dict(MIXERS.load(switches.pop("name")), switches)
