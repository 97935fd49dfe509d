"""Specs, which are frozen dataclasses, as plain JSON values and back. Every file with a spec is read by `from_dict`."""

import dataclasses
import json
import math
import types
import typing
from typing import Any, Literal, TypeVar

from fwplab.errors import UserError, shown
from fwplab.mixers import MIXERS, MixerSpec

Spec = TypeVar("Spec")
LARGEST = 2**63 - 1
"""The largest whole number of a spec. Databases, Parquet files and PyTorch hold no larger ones."""


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


def from_json(kind: type[Spec], text: str | bytes) -> Spec:
    """The spec of JSON text. Raises `UserError` if the text is no JSON, and as `from_dict`."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{kind.__name__} is no JSON text: {type(error).__name__}: {error}") from error
    return from_dict(kind, values)


def from_dict(kind: type[Spec], values: Any) -> Spec:
    """The inverse of `to_dict`, for a dataclass `kind`.

    Raises `UserError` for a missing or unknown field, or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{kind.__name__} is an object with fields, not {shown(values)}")
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := [name for name in values if name not in known]:
        choices = ", ".join(known) or "none"
        raise UserError(f"{kind.__name__} has no field {shown(unknown[0])}; choose from: {choices}")
    for name, one in known.items():
        has_default = one.default is not dataclasses.MISSING or one.default_factory is not dataclasses.MISSING
        if name not in values and not has_default:
            raise UserError(f"{kind.__name__} lacks its field {name!r}")
    hints = typing.get_type_hints(kind)
    return kind(
        **{name: read_value(hints[name], value, f"{name} of {kind.__name__}") for name, value in values.items()}
    )


def mixer_from_dict(values: Any) -> MixerSpec:
    """A mixer spec from its name and its switches."""
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise UserError(f"a mixer is an object with a name and switches, not {shown(values)}")
    switches = dict(values)
    return from_dict(MIXERS.load(switches.pop("name")), switches)


def read_value(hint: Any, value: Any, where: str) -> Any:
    """The value of a field with the type `hint`. `where`: the field, for the error."""
    if hint is MixerSpec:
        return mixer_from_dict(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value)
    reader = _READERS.get(typing.get_origin(hint), _plain)
    return reader(hint, value, where)


def _plain(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return tuple(value) if isinstance(value, list) else value
    return _of(hint, value, where)


def _choice(hint: Any, value: Any, where: str) -> Any:
    choices = typing.get_args(hint)
    if value not in choices:
        raise UserError(f"unknown {where} {shown(value)}; choose from: {', '.join(map(str, choices))}")
    return value


def _optional(hint: Any, value: Any, where: str) -> Any:
    kind = next(each for each in typing.get_args(hint) if each is not type(None))
    return None if value is None else read_value(kind, value, where)


def _by_name(hint: Any, value: Any, where: str) -> dict[str, Any]:
    kind = typing.get_args(hint)[1]
    return {key: read_value(kind, item, where) for key, item in _of(dict, value, where).items()}


def _items(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    arguments = typing.get_args(hint)
    if not isinstance(value, list | tuple):
        raise UserError(f"{where} is a list, not {shown(value)}")
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(hints) != len(value):
        raise UserError(f"{where} is a list of {len(hints)}, not {shown(value)}")
    return tuple(read_value(hint, item, where) for hint, item in zip(hints, value, strict=True))


_READERS = {
    Literal: _choice,
    tuple: _items,
    dict: _by_name,
    types.UnionType: _optional,
    typing.Union: _optional,
}
"""How values are read, by the origin of their type."""
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "an object"}


def _of(kind: Any, value: Any, where: str) -> Any:
    """`value`, if it is of the plain type `kind`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    right = {
        bool: isinstance(value, bool),
        int: number and isinstance(value, int),
        float: number,
        str: isinstance(value, str),
        dict: isinstance(value, dict),
    }
    if kind not in right:
        raise TypeError(f"{where} has the type {kind}, which no spec can have")
    if not right[kind]:
        raise UserError(f"{where} is {_WORDS[kind]}, not {shown(value)}")
    if number and (not math.isfinite(value) if isinstance(value, float) else abs(value) > LARGEST):
        raise UserError(f"{where} is a finite number of at most 64 bits, not {shown(value)}")
    if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise UserError(f"{where} is a text in Unicode without zeros, not {shown(value)}")
    return value


def _is_unicode(text: str) -> bool:
    """Whether the text has no half of a surrogate pair, which neither a file nor a database can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
