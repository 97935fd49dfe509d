"""Folding a layer into a published one: the same logits, from weights that the published code can load."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fwplab.compat.irie2023 import MODELS, PositionalModel, load_checkpoint, published_state
from fwplab.errors import UserError
from fwplab.mixers import MixerSpec
from fwplab.mixers._fast_weight import Projected
from fwplab.mixers.delta_net import DeltaNet
from fwplab.mixers.linear_transformer import LinearTransformer
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.mixers.split_delta_net import SplitDeltaNet
from fwplab.model.folding import fold_rate_bias, fold_split_delta_net
from fwplab.model.model import Model, ModelSpec, build

SHAPE = ModelSpec(hidden=12, layers=1, heads=3)
EPSILON = torch.finfo(torch.float64).eps


def randomised(mixer: MixerSpec, spec: ModelSpec = SHAPE, symbols: int = 4) -> Model:
    """A model with noise on all weights, including those of LayerNorm and the biases."""
    made = build(mixer, spec, symbols, 3, seed=0).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def tokens(symbols: int = 4) -> Tensor:
    return torch.randint(symbols, (3, 40), generator=torch.Generator().manual_seed(1))


def reload_as_published(model: Model, model_type: int, heads: int) -> Model:
    """Writes the weights as a checkpoint of the published code and loads it again."""
    loaded = load_checkpoint(published_state(model), model_type, num_heads=heads)
    assert isinstance(loaded, Model)
    return loaded


@pytest.mark.parametrize(("into", "number"), [(DeltaNet(), 2), (RecurrentDelta(), 7)])
@pytest.mark.parametrize("erase_bias", [-12.0, -6.0, 0.0, 3.0, 80.0])
def test_a_split_delta_net_folds_into_a_published_layer(
    erase_bias: float, into: DeltaNet | RecurrentDelta, number: int
) -> None:
    model = randomised(SplitDeltaNet(erase_bias=erase_bias, gate_scale=3.0))
    folded = reload_as_published(fold_split_delta_net(model, SHAPE, into), number, 3)
    expected = model(tokens())
    # A value can be as large as 1 / e. Its rounding error goes through the pseudoinverse into the other symbols' rows,
    # and adds up over 40 positions.
    layer: Any = model.mixers[0]
    inputs = layer.layer_norm(model.embedding.weight).detach()
    least = layer.gates(*layer.project(inputs.unsqueeze(0)).rates)[0].detach().min()
    bound = 40 * float(torch.linalg.cond(inputs)) * EPSILON / float(least)
    assert (folded(tokens()) - expected).abs().max() <= bound * expected.abs().max()


def test_erase_gates_below_the_minimum_are_raised_to_it() -> None:
    """The folded model equals one whose gates are clamped to `least_erase`, with unchanged writes."""
    model, raised = (randomised(SplitDeltaNet(erase_bias=-9.0)) for _ in range(2))
    layer: Any = raised.mixers[0]
    plain = layer.features

    def features(projected: Projected) -> tuple[Tensor, ...]:
        query, key, value, gate = plain(projected)
        return query, key, value * (gate / gate.clamp(min=0.01)).unsqueeze(-1), gate.clamp(min=0.01)

    layer.features = features
    folded = fold_split_delta_net(model, SHAPE, least_erase=0.01)
    torch.testing.assert_close(folded(tokens()), raised(tokens()), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(folded(tokens()), model(tokens()), rtol=1e-3)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "number"), [(DeltaNet, 2), (RecurrentDelta, 7)])
def test_a_rate_bias_folds_into_layer_norm(kind: type[MixerSpec], number: int, layers: int) -> None:
    spec = ModelSpec(hidden=12, layers=layers, heads=3)
    mixer = kind(rate_bias=-5.0, value_scale=20.0)  # type: ignore[call-arg]
    model = randomised(mixer, spec)
    folded = reload_as_published(fold_rate_bias(model, mixer, spec), number, 3)
    assert "mixers.0.rate_bias" in dict(model.named_parameters())
    torch.testing.assert_close(folded(tokens()), model(tokens()), rtol=1e-10, atol=1e-10)


def test_a_model_without_a_rate_bias_is_unchanged() -> None:
    model = randomised(DeltaNet())
    folded = fold_rate_bias(model, DeltaNet(), SHAPE)
    assert torch.equal(folded(tokens()), model(tokens()))


def test_folding_changes_neither_the_given_model_nor_the_dtype() -> None:
    mixer = SplitDeltaNet()
    model = randomised(mixer).float()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_split_delta_net(model, SHAPE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.float32}


@pytest.mark.parametrize("number", sorted(MODELS))
def test_published_weights_are_unchanged_by_saving_and_loading(number: int) -> None:
    model = randomised(MODELS[number].mixer, ModelSpec(hidden=12, layers=1, heads=3))
    again = load_checkpoint(published_state(model), number, num_heads=None if number in (0, 10) else 3)
    assert torch.equal(again(tokens()), model(tokens()))


def test_a_table_of_positions_is_refused() -> None:
    model = PositionalModel(randomised(DeltaNet()), torch.zeros(5, 12, dtype=torch.float64))
    with pytest.raises(UserError, match="without a table of positions"):
        published_state(model)


def test_models_that_cannot_be_folded_are_refused() -> None:
    deep = ModelSpec(hidden=12, layers=2, heads=3)
    with pytest.raises(UserError, match="one layer of split-delta-net"):
        fold_split_delta_net(randomised(SplitDeltaNet(), deep), deep)
    with pytest.raises(UserError, match="one layer of split-delta-net"):
        fold_split_delta_net(randomised(DeltaNet()), SHAPE)
    with pytest.raises(UserError, match=r"13 embeddings span 1[12] dimensions"):
        fold_split_delta_net(randomised(SplitDeltaNet(), symbols=13), SHAPE)
    with pytest.raises(UserError, match="delta-net or recurrent-delta"):
        fold_rate_bias(randomised(LinearTransformer()), LinearTransformer(), SHAPE)
    zero_scale, biased = randomised(DeltaNet(rate_bias=-1.0)), DeltaNet(rate_bias=-1.0)
    with torch.no_grad():
        zero_scale.get_parameter("mixers.0.layer_norm.weight")[2] = 0
    with pytest.raises(UserError, match="weight of 0"):
        fold_rate_bias(zero_scale, biased, SHAPE)
