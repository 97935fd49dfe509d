"""The leak of a counter (the share of a count that one symbol erases), for layers whose leak is known."""

from typing import Any

import pytest
import torch

from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.linear_transformer import LinearTransformer
from fwplab.mixers.lstm import LSTM
from fwplab.model.model import Model, ModelSpec, build
from fwplab.probes.leak import DEPTHS, PAIRS, count_leak, held_depth, predicted_depth

SHAPE = ModelSpec(hidden=12, layers=1, heads=3)


def model_with_uniform_keys(mixer: MixerSpec) -> Model:
    """A model with uniform keys, whose rates depend on the bias alone."""
    model = build(mixer, SHAPE, 3, 2, seed=0)
    layer: Any = model.mixers[0]
    with torch.no_grad():
        rows = layer.slow_net.weight.unflatten(0, (3, -1))
        rows[:, 4:8] = 0
        rows[:, 12:] = 0
    return model


@pytest.mark.parametrize("bias", [-10.0, -5.0, 0.5])
def test_the_leak_of_uniform_keys_is_the_rate_divided_by_the_width(bias: float) -> None:
    leak = count_leak(model_with_uniform_keys(DeltaNet(rate_bias=bias)), load_language("dyck_1"))
    assert leak == pytest.approx(float(torch.sigmoid(torch.tensor(bias))) / 4, rel=1e-3)


def test_a_linear_transformer_does_not_leak() -> None:
    leak = count_leak(build(LinearTransformer(), SHAPE, 3, 2, seed=0), load_language("counter_2"))
    assert leak == pytest.approx(0, abs=1e-12)
    assert predicted_depth(0.0) == float("inf")


@pytest.mark.parametrize("name", ["delta-net", "recurrent-delta", "srwm", "split-delta-net"])
@pytest.mark.parametrize("language", PAIRS)
def test_every_mixer_with_a_memory_matrix_has_a_leak_on_every_language(name: str, language: str) -> None:
    task = load_language(language)
    model = build(MIXERS.load(name)(), SHAPE, len(task.symbols) + 1, len(task.classes), seed=0)
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    assert -1 < count_leak(model, task) <= 1
    assert all(torch.equal(weight, before[key]) for key, weight in model.state_dict().items())
    assert held_depth(model, task) in (0, *DEPTHS)


def test_the_held_depth_is_the_last_before_the_first_wrong_string() -> None:
    class Answers(Model):
        """A model that labels prefixes of Dyck-1 right below depth 13, and wrong from there on."""

        def scan(self, tokens: torch.Tensor, state: Any = None) -> Any:
            depth = torch.where(tokens == 0, 1, -1).cumsum(1) + (0 if state is None else state)
            answer = (depth == 0) | (depth >= 13)
            return torch.stack([answer, ~answer], -1).float(), depth[:, -1:]

        def initial_state(self, batch: int) -> Any:
            return torch.zeros(batch, 1, dtype=torch.long)

    language = load_language("dyck_1")
    assert language.labels("(())") == ["1", "1", "1", "0"]
    assert held_depth(Answers(DeltaNet(), SHAPE, 3, 2), language) == 12


def test_languages_and_mixers_without_a_counter_are_refused() -> None:
    with pytest.raises(UserError, match="no count is known for parity; choose from: dyck_1"):
        count_leak(build(DeltaNet(), SHAPE, 3, 2, seed=0), load_language("parity"))
    with pytest.raises(UserError, match="needs a memory matrix for each head"):
        count_leak(build(LSTM(), SHAPE, 3, 2, seed=0), load_language("dyck_1"))
