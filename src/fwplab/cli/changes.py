"""Command-line options that change fields of a preset. Their types and help texts come from the class of the preset."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import field, fields, make_dataclass, replace
from typing import Annotated, Any, TypeVar, get_type_hints

from tyro.conf import arg

Spec = TypeVar("Spec")


def changes(spec: type, names: tuple[str, ...], presets: Mapping[str, Any]) -> Any:
    """Makes a dataclass with these fields of `spec`. Their default, None, keeps the value of the preset.

    The help text of a field is its documentation in `spec`, followed by its value in each preset.

    spec: a dataclass whose fields have documentation below them.
    names: the fields to take.
    presets: instances of `spec` by name.
    """
    sentences, kinds = _field_documentation(spec), get_type_hints(spec)
    options = []
    for name in names:
        text = arg(help=f"{sentences[name]} {_default(name, presets)}", help_behavior_hint="")
        options.append((name, Annotated[kinds[name] | None, text], field(default=None)))
    return make_dataclass(f"{spec.__name__}Changes", options, frozen=True)


def changed(spec: Spec, given: Any) -> Spec:
    """The spec with the values of `given`, an instance of a class from `changes`, that are not None."""
    values = {each.name: getattr(given, each.name) for each in fields(given)}
    return replace(spec, **{name: value for name, value in values.items() if value is not None})  # type: ignore[type-var]


def _default(name: str, presets: Mapping[str, Any]) -> str:
    values = {preset: _shown(getattr(spec, name)) for preset, spec in presets.items()}
    if len(set(values.values())) == 1:
        return f"(default: {next(iter(values.values()))})"
    return f"(default: {', '.join(f'{value} of {preset}' for preset, value in values.items())})"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _field_documentation(spec: type) -> dict[str, str]:
    """The text below each field of a class."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(spec))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for one, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(after, ast.Expr):
            found[one.target.id] = inspect.cleandoc(ast.literal_eval(after.value)).replace("\n", " ")
    return found
