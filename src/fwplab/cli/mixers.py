"""`fwplab mixers`: the sequence mixers and their switches."""

import dataclasses
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from fwplab.cli.console import emit, listed
from fwplab.mixers import MIXERS
from fwplab.source import first_paragraph

if TYPE_CHECKING:
    from fwplab.mixers import MixerSpec


def _facts(name: str) -> dict[str, Any]:
    from fwplab.model.model import ModelSpec, build  # imports PyTorch, which the printed list does not need

    spec = MIXERS.load(name)()
    model = build(spec, ModelSpec(), vocabulary=3, classes=2, seed=0)
    return {
        "name": name,
        "description": first_paragraph(inspect.getdoc(type(spec))),
        "switches": _switches(spec),
        "constant_memory": spec.constant_memory,
        "parameters": model.parameter_count(),
        "state_size": model.state_size(),
    }


def _switches(spec: "MixerSpec") -> dict[str, object]:
    return {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}


@dataclass(frozen=True)
class ListMixers:
    """Lists all mixers.

    With --json also their switches, and the size of the default two-layer model on a binary language.
    """

    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        if self.json:
            emit(listed(MIXERS, _facts), as_json=True, text="")
            return 0
        table = Table("mixer", "what it is", box=None)
        for name, text in listed(MIXERS, lambda name: (name, first_paragraph(MIXERS.read(name, "__doc__")["__doc__"]))):
            table.add_row(name, escape(text))
        emit(None, as_json=False, text=table)
        return 0


@dataclass(frozen=True)
class ShowMixer:
    """Shows one mixer: its switches with the paper's values, and the size of the default model on a binary language."""

    name: Positional[str]
    """Name of a mixer: fwplab mixers."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        kind = MIXERS.load(self.name)
        name = MIXERS.name_of(kind)
        facts = {**_facts(name), "text": inspect.getdoc(kind) or ""}
        switches = "\n".join(f"  {switch}={value}" for switch, value in _switches(kind()).items())
        state = f"{facts['state_size']:,} numbers of state" if facts["constant_memory"] else "a state that grows"
        size = f"default two-layer model on a binary language: {facts['parameters']:,} parameters, {state}"
        emit(facts, as_json=self.json, text=f"{name}\n\n{facts['text']}\n\nswitches:\n{switches}\n\n{size}")
        return 0
