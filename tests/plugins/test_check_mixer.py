"""The checks of mixers from other packages, the example of the documentation, and frozen parameters."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fwplab.errors import UserError
from fwplab.mixers import MIXERS, Mixer, MixerSpec, State
from fwplab.model.model import Model, ModelSpec
from fwplab.model.population import Population
from fwplab.plugins import check_mixer as contract
from fwplab.training.run import Run

PAGE = Path(__file__).parents[2] / "docs" / "own-layer.md"


class Layer(Mixer):
    """A running sum, which meets every requirement."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        (total,) = state or self.initial_state(len(x))
        totals = total.unsqueeze(1) + self.linear(x).cumsum(1)
        return x + totals, (totals[:, -1],)

    def initial_state(self, batch: int) -> State:
        return (self.linear.weight.new_zeros(batch, self.linear.out_features),)


class LooksAhead(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        output, state = super().forward(x, state)
        return output + torch.cat([x[:, 1:], x[:, :1] * 0], dim=1), state


class MixesStrings(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        output, state = super().forward(x, state)
        return output + x.mean(0), state


class DropsOut(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(self.dropout(x), state)


class NormalisesBatches(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(self.norm(x.mT).mT, state)


class IgnoresState(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(x)


class OtherInitialState(Layer):
    def initial_state(self, batch: int) -> State:
        return (torch.ones(batch, self.linear.out_features),)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(x, state or (torch.zeros(len(x), x.shape[-1]),))


class NoState(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(x, state)[0]  # type: ignore[return-value]


class BareState(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        output, (last,) = super().forward(x, state)
        return output, last  # type: ignore[return-value]


class TooShort(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        output, state = super().forward(x, state)
        return output[:, 1:], state


class Halves(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        output, state = super().forward(x, state)
        return output.half(), state


class Misnamed(Layer):
    state_names = ("hidden", "cell", "more")


class DoesNotFit(Layer):
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(x[..., 1:], state)


@dataclass(frozen=True)
class Outsider(MixerSpec):
    """Builds the layer that it is given."""

    layer: type[Layer] = Layer

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        return self.layer(width)


def model(layer: type[Layer]) -> Model:
    return Model(Outsider(layer=layer), ModelSpec(hidden=6, layers=2, heads=2), vocabulary=3, classes=2)


def test_a_correct_layer_passes_and_uses_no_random_number() -> None:
    built = model(Layer)
    before = torch.random.get_rng_state()
    contract.check("mean", built)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert built.training


@pytest.mark.parametrize("name", MIXERS.own_names())
def test_the_mixers_of_fwplab_pass(name: str) -> None:
    contract.check(name, Model(MIXERS.load(name)(), ModelSpec(hidden=8, heads=2), vocabulary=3, classes=2))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LooksAhead, "looks ahead"),
        (MixesStrings, "mixes the strings of a batch"),
        (DropsOut, "gives another output the second time"),
        (NormalisesBatches, "gives another output in eval mode"),
        (IgnoresState, "in two parts"),
        (OtherInitialState, "step by step from its initial state"),
        (NoState, "returns a Tensor, not the output and the state"),
        (BareState, "no tuple of tensors with the batch first"),
        (TooShort, r"returns an output \[3, 11, 6\] of torch.float32, not \[3, 12, 6\]"),
        (Halves, "torch.float16, not"),
        (Misnamed, "gives 3 names to a state of"),
        (DoesNotFit, r"fails on an input \[3, 12, 6\]: RuntimeError: mat1 and mat2"),
    ],
)
def test_a_broken_requirement_is_named(layer: type[Layer], message: str) -> None:
    with pytest.raises(UserError, match=message) as found:
        contract.check("mine", model(layer))
    assert "\n" not in str(found.value)


def test_a_mixer_without_an_entry_point_is_refused() -> None:
    with pytest.raises(UserError, match=r"give it one by an entry point in the group fwplab.mixers: my-name = "):
        _ = Run("parity", Outsider(), (0,)).key


def test_frozen_parameters_have_no_gradient_in_any_population() -> None:
    models = [model(Layer) for _ in range(2)]
    for each in models:
        each.mixers[0].linear.weight.requires_grad_(False)
    assert models[0].parameter_count() == sum(p.numel() for p in models[0].parameters()) - 36
    tokens, labels = torch.zeros(2, 3, 4, dtype=torch.long), torch.ones(2, 3, 4, dtype=torch.long)
    for mode in ("stack", "loop"):
        population = Population(models, mode)
        assert population.mode == mode
        population.backward(population.losses(tokens, labels))
        gradients = population.by_name(population.gradients)
        assert not gradients["mixers.0.linear.weight"].any()
        assert gradients["mixers.1.linear.weight"].any()


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    code, project = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "toml"))
    assert code is not None
    assert project is not None
    group, name, value = re.search(r'entry-points."(.*?)"\]\n(\S+) = "(.*?)"', project[1]).groups()  # type: ignore[union-attr]
    name = f"mylab-{name}"  # never the name of a mixer of this package
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").touch()
    (tmp_path / "mylab" / "gru.py").write_text(code[1])
    installed = tmp_path / "mylab-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    options = ["--max-steps", "20", "--check-every", "10", "--train-strings", "100", "--validation-strings", "20"]
    options += ["--test-strings", "10", "--hidden", "8", "--workers", "1", "--language", "parity", "--seeds", "2"]
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "FWPLAB_HOME": str(tmp_path / "home")}
    for switches in ([], ["--switch", "skip=true"]):
        command = [sys.executable, "-m", "fwplab", "train", "--mixer", name, *switches, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert "gru" in done.stdout
    (tmp_path / "mylab" / "gru.py").write_text(code[1] + "\n# this comment changes the fingerprint of the code\n")
    for _ in range(2):  # the second call finds the finished run
        subprocess.run(command, check=True, capture_output=True, env=environment)
    listed = [sys.executable, "-m", "fwplab", "runs", "--json"]
    found = subprocess.run(listed, check=True, capture_output=True, text=True, env=environment)
    assert len(json.loads(found.stdout)) == 3
