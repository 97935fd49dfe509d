"""Reads the docstring and the attributes of a class from its source text, without importing its module."""

import ast
import importlib.util
import inspect
from importlib.abc import InspectLoader
from typing import Any


def class_text(module: str, name: str) -> dict[str, Any]:
    """The docstring (`__doc__`) of a class, and its attributes with literal values.

    - `module`: the name of the module. Its package is imported, the module itself is not.
    - `name`: the name of the class, in upper or lower case.

    The result is empty if there is no such class or no source text.

    >>> class_text("fwplab.languages.parity", "parity")["symbols"]
    ('0', '1')
    """
    spec = importlib.util.find_spec(module)
    text = spec.loader.get_source(module) if spec and isinstance(spec.loader, InspectLoader) else None
    for node in ast.parse(text or "").body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == name.lower():
            return _literals(node)
    return {}


def first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring as one line.

    >>> first_paragraph("One\\n    sentence.\\n\\n    More.")
    'One sentence.'
    """
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def _literals(node: ast.ClassDef) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (doc := ast.get_docstring(node)) is not None:
        found["__doc__"] = doc
    for statement in node.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name):
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:  # not a literal
                found.pop(target.id, None)
    return found
