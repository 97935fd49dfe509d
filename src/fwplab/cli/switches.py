"""Parses the switches of a mixer on the command line: `NAME=VALUE`, or for a search `NAME=VALUE,VALUE`."""

import json
from collections.abc import Sequence
from typing import Any

from fwplab.errors import UserError
from fwplab.mixers import MixerSpec
from fwplab.training.spec import mixer_from_dict


def parse_mixer(mixer: str, switches: Sequence[str]) -> MixerSpec:
    """The mixer with this name and these switches, each `NAME=VALUE`."""
    named = dict(_split(mixer, text) for text in switches)
    return mixer_from_dict({"name": mixer, **{name: _value(value) for name, value in named.items()}})


def parse_choices(mixer: str, switches: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The values that a search may choose for each of these switches, each `NAME=VALUE,VALUE`."""
    named = dict(_split(mixer, text) for text in switches)
    return {name: tuple(map(_value, values.split(","))) for name, values in named.items()}


def _split(mixer: str, text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not (name.strip() and value.strip()):
        raise UserError(f"a switch is NAME=VALUE, not {text!r}; fwplab mixers show {mixer} lists them")
    return name.strip().replace("-", "_"), value.strip()


def _value(text: str) -> Any:
    try:
        return json.loads(text.strip().lower())
    except json.JSONDecodeError:
        return text.strip()  # a word
