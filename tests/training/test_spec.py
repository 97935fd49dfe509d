"""Specs from JSON: any text gives a spec or an error of one readable line."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.test_trainer import small_run

from fwplab.errors import LONGEST_LINE, UserError
from fwplab.languages import LANGUAGES
from fwplab.mixers import MIXERS
from fwplab.recipes.recipe import Recipe, recipe, recipes
from fwplab.recipes.space import Space
from fwplab.training.run import Run
from fwplab.training.spec import from_dict, from_json, to_dict

RECIPE = recipe("parity", "srwm")
SPACE = Space(switches={"rate_bias": (-2.0, 0.0), "same_start": (True, False)})
SPECS = {"run": small_run(corpus="mine@0123"), "recipe": RECIPE, "space": SPACE}
WRONG: list[Any] = [
    None,
    True,
    -1,
    2**63,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "\ud800",
    "two\nlines",
    [],
    [[]],
    [None],
    {},
    {"name": []},
    {"name": "srwm", "rate_bias": {}},
]


def containers(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value with each of its keys or indices."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from containers(value[key])


def outcome(kind: type, values: Any) -> str:
    """The line of the user error, or "read". Any other exception fails the test."""
    try:
        from_json(kind, json.dumps(values))
    except UserError as error:
        line = str(error)
        assert 0 < len(line) <= LONGEST_LINE
        assert line.isprintable(), line
        return line
    return "read"


@pytest.mark.parametrize("name", SPECS)
def test_a_wrong_value_in_any_field_is_one_line(name: str) -> None:
    kind, text, refused = type(SPECS[name]), json.dumps(to_dict(SPECS[name])), 0
    for number in range(len(list(containers(json.loads(text))))):
        for wrong in WRONG:
            values = json.loads(text)
            container, key = list(containers(values))[number]
            container[key] = wrong
            refused += outcome(kind, values) != "read"
        values = json.loads(text)
        container, key = list(containers(values))[number]
        del container[key]
        outcome(kind, values)
    assert refused > 200


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_any_other_json_is_one_line(values: Any) -> None:
    for spec in SPECS.values():
        assert outcome(type(spec), values) != "read" or (type(spec), values) == (Space, {})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[", "Run is no JSON text: JSONDecodeError"),
        ("[" * 100_000, "Run is no JSON text: RecursionError"),
        ("[]", r"Run is an object with fields, not \[\]"),
        ("{}", "Run lacks its field 'language'"),
        ('{"language": ["parity"], "mixer": {"name": "srwm"}}', "language of Run is a text, not"),
        ('{"language": "parity", "mixer": {}}', "a mixer is an object with a name and switches"),
        ('{"language": "parity", "mixer": {"name": "srwm"}, "seeds": [1e400]}', "seeds of Run is a whole number"),
        ('{"language": "parity", "mixer": {"name": "srwm"}, "seeds": [9223372036854775808]}', "at most 64 bits"),
        ('{"language": "parity", "mixer": {"name": "srwm"}, "seeds": 3}', "seeds of Run is a list, not 3"),
        ('{"language": "parity", "mixer": {"name": "srwm"}, "population": "heap"}', "choose from: stack, loop"),
    ],
)
def test_the_error_names_the_field(text: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        from_json(Run, text)


def test_every_recipe_and_spec_is_unchanged_by_json() -> None:
    for language in LANGUAGES.own_names():
        for mixer in MIXERS.own_names():
            for each in recipes(language, mixer):
                assert from_dict(Recipe, to_dict(each)) == each
    for spec in SPECS.values():
        again = from_json(type(spec), json.dumps(to_dict(spec)))
        assert again == spec
    run = replace(small_run(), seeds=(2**31, 7))
    assert from_json(Run, json.dumps(to_dict(run))).key == run.key
