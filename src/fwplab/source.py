"""What a class says of itself, read from the text of its file: a list of names needs no import."""

import ast
import importlib.util
import inspect
from importlib.abc import InspectLoader
from typing import Any


def class_text(module: str, name: str) -> dict[str, Any]:
    """The docstring (`__doc__`) and those attributes of a class that its file states as plain values.

    `module`: the name of the module; its package is imported, the module itself is not. `name`: the class, upper or
    lower case. Empty where there is no such class, or no text to read.

    >>> class_text("fwplab.languages.parity", "parity")["symbols"]
    ('0', '1')
    """
    spec = importlib.util.find_spec(module)
    text = spec.loader.get_source(module) if spec and isinstance(spec.loader, InspectLoader) else None
    for node in ast.parse(text or "").body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == name.lower():
            return _stated(node)
    return {}


def first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring as one line.

    >>> first_paragraph("One\\n    sentence.\\n\\n    More.")
    'One sentence.'
    """
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def _stated(node: ast.ClassDef) -> dict[str, Any]:
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
            except ValueError:  # computed
                found.pop(target.id, None)
    return found
