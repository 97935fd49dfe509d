"""`fwplab mixers`: the sequence mixers and their switches."""

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated

from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, subcommand

from fwplab.cli.console import emit
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.model import ModelSpec, build


def _facts(name: str) -> dict[str, object]:
    spec = MIXERS.load(name)()
    model = build(spec, ModelSpec(), vocabulary=3, classes=2, seed=0)
    return {
        "name": name,
        "description": (inspect.getdoc(type(spec)) or "").split("\n\n")[0].replace("\n", " "),
        "switches": _switches(spec),
        "constant_memory": spec.constant_memory,
        "parameters": model.parameter_count(),
        "state_size": model.state_size(),
    }


def _switches(spec: MixerSpec) -> dict[str, object]:
    return {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}


@dataclass(frozen=True)
class ListMixers:
    """All mixers, with the size of the default two-layer model on a binary language."""

    json: bool = False

    def __call__(self) -> int:
        facts = [_facts(name) for name in MIXERS.names()]
        table = Table("mixer", "parameters", "state", "what it is", box=None)
        for fact in facts:
            state = str(fact["state_size"]) if fact["constant_memory"] else "grows"
            table.add_row(str(fact["name"]), str(fact["parameters"]), state, escape(str(fact["description"])))
        emit(facts, as_json=self.json, text=table)
        return 0


@dataclass(frozen=True)
class ShowMixer:
    """One mixer and its switches, with the paper's values."""

    name: Positional[str]
    json: bool = False

    def __call__(self) -> int:
        kind = MIXERS.load(self.name)
        name = MIXERS.name_of(kind)
        facts = {**_facts(name), "text": inspect.getdoc(kind) or ""}
        switches = "\n".join(f"  {switch}={value}" for switch, value in _switches(kind()).items())
        emit(facts, as_json=self.json, text=f"{name}\n\n{facts['text']}\n\nswitches:\n{switches}")
        return 0


Action = Annotated[ListMixers, subcommand("list")] | Annotated[ShowMixer, subcommand("show")]


@dataclass(frozen=True)
class Mixers:
    """The sequence mixers: list, show."""

    action: Action = ListMixers()

    def __call__(self) -> int:
        return self.action()
