"""The published code's checkpoints: the same logits and gradients here, and one clear line for a wrong one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.compat.published import CASES, Shape, Weights, logits, random_weights, state_dict
from torch import Tensor, nn

from fwplab.compat.irie2023 import MODELS, PositionalModel, load_checkpoint, published_names
from fwplab.errors import UserError
from fwplab.model import Model, ModelSpec, build

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
EVERY_TYPE = pytest.mark.parametrize("model_type", MODELS)


def tokens(case: Shape, *shape: int) -> Tensor:
    """Random token ids."""
    return torch.randint(case.vocabulary, shape, generator=torch.Generator().manual_seed(1))


def loaded(case: Shape, weights: Weights) -> Model | PositionalModel:
    """The model of a state dict, heads given only where the weights don't tell."""
    heads = case.heads if case.model_type in (1, 8, 9) else None
    return load_checkpoint(state_dict(case, weights), case.model_type, heads)


def gradients(output: Tensor, weights: Weights) -> Weights:
    """Of a fixed random sum of the outputs, by name."""
    generator = torch.Generator().manual_seed(2)
    downstream = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    found = torch.autograd.grad((output * downstream).sum(), list(weights.values()))
    return dict(zip(weights, found, strict=True))


def renamed(model: nn.Module) -> Weights:
    """The parameters under their published names."""
    names = published_names(model)
    return {names[name]: parameter for name, parameter in model.named_parameters()}


def doubled(weights: Weights) -> Weights:
    """The same numbers in float64, as leaves."""
    return {name: weight.detach().double().requires_grad_() for name, weight in weights.items()}


def error(found: Tensor, expected: Tensor) -> float:
    """Relative to the largest number of `expected`."""
    difference = found.reshape(expected.shape).double() - expected.double()
    return float(difference.detach().abs().max() / expected.detach().double().abs().max())


def worst(found: Weights, expected: Weights) -> float:
    """The largest error of all tensors, which must have the same names."""
    assert found.keys() == expected.keys()
    return max(error(found[name], expected[name]) for name in expected)


@EVERY_CASE
def test_float64_logits_and_gradients_are_the_published_ones(case: Shape) -> None:
    weights, ids = random_weights(case, torch.float64), tokens(case, 3, 21)
    model = loaded(case, weights)
    ours, theirs = model(ids), logits(case, weights, ids)
    assert ours.dtype == torch.float64
    assert error(ours, theirs) < 1e-10
    assert worst(gradients(ours, renamed(model)), gradients(theirs, weights)) < 1e-10


@EVERY_CASE
def test_float32_logits_and_gradients_are_the_published_ones(case: Shape) -> None:
    weights, ids = random_weights(case, torch.float32), tokens(case, 3, 21)
    model = loaded(case, weights)
    ours, theirs = model(ids), logits(case, weights, ids)
    assert ours.dtype == torch.float32
    assert error(ours, theirs) < 1e-6

    exact = doubled(weights)
    exact_gradients = gradients(logits(case, exact, ids), exact)
    rounding = worst(gradients(theirs, weights), exact_gradients)
    assert rounding < 1e-4
    assert worst(gradients(ours, renamed(model)), exact_gradients) < 4 * rounding


@EVERY_CASE
def test_a_float32_checkpoint_moves_to_float64(case: Shape) -> None:
    single, ids = random_weights(case, torch.float32), tokens(case, 2, 13)
    model, weights = loaded(case, single).double(), doubled(single)
    ours, theirs = model(ids), logits(case, weights, ids)
    # The published table of positions is a float32 buffer too.
    tolerance = 1e-6 if case.positions else 1e-10
    assert error(ours, theirs) < tolerance
    assert worst(gradients(ours, renamed(model)), gradients(theirs, weights)) < 10 * tolerance


@EVERY_TYPE
def test_every_form_of_a_source_gives_the_same_model(model_type: int, tmp_path: Path) -> None:
    case = Shape(model_type)
    saved, ids = state_dict(case, random_weights(case, torch.float32)), tokens(case, 2, 9)
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(3))], betas=(0.9, 0.995), eps=1e-9)
    whole = {
        "epoch": 3,
        "model_state_dict": saved,
        "optimizer_state_dict": optimizer.state_dict(),
        "valid_acc": 97.5,
    }
    torch.save(whole, tmp_path / "whole.pt")
    torch.save(saved, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    parallel = {f"module.{name}": tensor for name, tensor in saved.items()}
    sources = [whole, parallel, tmp_path / "whole.pt", str(tmp_path / "whole.pt"), tmp_path / "old.pt"]
    expected = load_checkpoint(saved, model_type, 3)(ids)
    for source in sources:
        assert torch.equal(load_checkpoint(source, model_type, 3)(ids), expected)


@EVERY_TYPE
def test_loading_shares_no_memory_and_leaves_torchs_generator_alone(model_type: int) -> None:
    case = Shape(model_type)
    weights = random_weights(case, torch.float32)
    saved, ids = state_dict(case, weights), tokens(case, 2, 9)
    before = torch.random.get_rng_state()
    model = load_checkpoint(saved, model_type, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    expected = model(ids)
    for tensor in saved.values():
        tensor.fill_(7.0)
    assert torch.equal(model(ids), expected)


@pytest.mark.parametrize("case", [case for case in CASES if not case.positions], ids=str)
def test_a_loaded_model_steps(case: Shape) -> None:
    model, ids = loaded(case, random_weights(case, torch.float64)), tokens(case, 2, 11)
    assert isinstance(model, Model)
    state, stepped = model.initial_state(2), []
    for at_time in ids.unbind(1):
        position, state = model.step(at_time, state)
        stepped.append(position)
    torch.testing.assert_close(torch.stack(stepped, dim=1), model(ids), atol=1e-12, rtol=1e-12)


@EVERY_CASE
def test_what_is_trained_is_what_was_published(case: Shape) -> None:
    weights = random_weights(case, torch.float32)
    trained = sum(parameter.numel() for parameter in loaded(case, weights).parameters())
    assert trained == sum(weight.numel() for weight in weights.values())


@pytest.mark.parametrize("model_type", [0, 10])
def test_one_hot_inputs_end_with_the_vocabulary(model_type: int) -> None:
    case = Shape(model_type, one_hot=True)
    model = loaded(case, random_weights(case, torch.float32))
    for outside in (-1, case.vocabulary):
        with pytest.raises(IndexError):
            model(torch.tensor([[0, outside]]))


@pytest.mark.parametrize("case", [case for case in CASES if case.positions], ids=str)
def test_a_table_of_positions_is_kept_but_not_trained(case: Shape) -> None:
    weights = random_weights(case, torch.float32)
    model = loaded(case, weights)
    assert isinstance(model, PositionalModel)
    assert model.state_dict()["table"].shape == (case.positions, case.hidden)
    assert set(published_names(model).values()) == set(weights)
    assert model(tokens(case, 1, case.positions)).shape == (1, case.positions, case.classes)
    with pytest.raises(UserError, match=r"ends at 40; choose at most that, not 41"):
        model(tokens(case, 1, case.positions + 1))


@EVERY_TYPE
def test_a_model_of_the_house_has_published_names(model_type: int) -> None:
    case = Shape(model_type)
    spec = ModelSpec(12, case.layers, 3, 2, case.embedding if model_type in (0, 10) else None)
    model = build(MODELS[model_type].mixer, spec, case.vocabulary, case.classes, seed=0)
    assert set(published_names(model).values()) == random_weights(case, torch.float32).keys()


def test_other_models_have_no_published_names() -> None:
    with pytest.raises(UserError, match="choose one of: LSTM, Transformer, DeltaNet"):
        published_names(nn.Linear(2, 2))


OTHER_TYPES = [(own, claimed) for own in MODELS for claimed in MODELS if own != claimed and {own, claimed} != {8, 9}]
"""Types 8 and 9 have the same names and shapes."""


@pytest.mark.parametrize(("model_type", "claimed"), OTHER_TYPES)
def test_a_checkpoint_of_another_type_is_refused(model_type: int, claimed: int) -> None:
    case = Shape(model_type)
    with pytest.raises(UserError, match=r"the checkpoint has|has the shape|contradicts"):
        load_checkpoint(state_dict(case, random_weights(case, torch.float32)), claimed, case.heads)


@pytest.mark.parametrize("unknown", [3, 6, 11, 13, -1])
def test_an_unknown_model_type_names_the_choices(unknown: int) -> None:
    with pytest.raises(UserError, match=rf"model type {unknown} .*0 \(LSTM\), 1 \(Transformer\).* 12 \(SRWM\)"):
        load_checkpoint({}, unknown)


@pytest.mark.parametrize("model_type", [1, 8, 9])
def test_heads_that_the_weights_do_not_tell_must_be_given(model_type: int) -> None:
    saved = state_dict(Shape(model_type), random_weights(Shape(model_type), torch.float32))
    with pytest.raises(UserError, match="choose num_heads"):
        load_checkpoint(saved, model_type)
    with pytest.raises(UserError, match="5 heads do not divide a width of 12; choose from: 1, 2, 3, 4, 6, 12"):
        load_checkpoint(saved, model_type, 5)


@pytest.mark.parametrize("model_type", [2, 7, 12])
def test_heads_that_contradict_the_weights_are_refused(model_type: int) -> None:
    saved = state_dict(Shape(model_type), random_weights(Shape(model_type), torch.float32))
    assert isinstance(load_checkpoint(saved, model_type, 3), Model)
    with pytest.raises(UserError, match=r"num_heads=4 contradicts 'layers.0.*choose 3"):
        load_checkpoint(saved, model_type, 4)


@EVERY_CASE
def test_every_missing_unknown_or_misshapen_weight_is_named(case: Shape) -> None:
    saved = state_dict(case, random_weights(case, torch.float32))
    heads = case.heads if case.model_type in (1, 8, 9) else None
    for name in saved:
        # Without its embedding an LSTM reads one-hot, and its input is then too narrow or not: not a missing weight.
        if name.endswith(".pe") or (name == "embedding.weight" and case.model_type in (0, 10)):
            continue
        rest = {other: tensor for other, tensor in saved.items() if other != name}
        with pytest.raises(UserError, match=f"has no '{name}'"):
            load_checkpoint(rest, case.model_type, heads)
        for wrong in (torch.zeros(3, 2, 1, 1, 1), torch.zeros(()), torch.zeros(0)):
            with pytest.raises(UserError, match=r"has the shape|one weight but differ"):
                load_checkpoint(saved | {name: wrong}, case.model_type, heads)
    with pytest.raises(UserError, match=r"has 'layers.9.extra', which"):
        load_checkpoint(saved | {"layers.9.extra": torch.zeros(1)}, case.model_type, heads)


CHANGES: list[tuple[str, Callable[[Weights], object], str]] = [
    (
        "a copy differs",
        lambda w: w | {"layers.1.ff_layers.3.bias": torch.zeros(12)},
        "corrupt .*'layers.1.ff_layers.3.bias'",
    ),
    ("a wider embedding", lambda w: w | {"embedding.weight": torch.zeros(5, 13)}, "'embedding.weight' has the shape"),
    (
        "a narrower table",
        lambda w: w | {"layers.0.pe": torch.zeros(9, 1, 11)},
        "the checkpoint has no 'layers.10|has no",
    ),
    ("integers", lambda w: w | {"out_layer.bias": torch.zeros(4, dtype=torch.int64)}, "'out_layer.bias' is no tensor"),
    ("no tensor", lambda w: w | {"out_layer.bias": 3}, "'out_layer.bias' is no tensor of floating-point .* int"),
    ("two precisions", lambda w: w | {"out_layer.bias": torch.zeros(4).double()}, "'out_layer.bias' is torch.float64"),
    ("nothing", lambda w: {}, "no state dict"),
    ("nothing inside", lambda w: {"model_state_dict": None}, "no state dict"),
]
