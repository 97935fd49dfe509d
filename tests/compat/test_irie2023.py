"""Checkpoints of the published code: the same logits and gradients, and clear errors for wrong files."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.compat.published import CASES, Shape, Weights, logits, random_weights, state_dict
from torch import Tensor, nn

from fwplab.compat.irie2023 import MODELS, PositionalModel, load_checkpoint, published_names
from fwplab.errors import UserError
from fwplab.model.model import Model, ModelSpec, build

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)
EVERY_TYPE = pytest.mark.parametrize("model_type", MODELS)


def tokens(case: Shape, *shape: int) -> Tensor:
    """Random token ids."""
    return torch.randint(case.vocabulary, shape, generator=torch.Generator().manual_seed(1))


def loaded(case: Shape, weights: Weights) -> Model | PositionalModel:
    """The model of a state dict. The number of heads is passed only if the weights do not determine it."""
    heads = case.heads if case.model_type in (1, 8, 9) else None
    return load_checkpoint(state_dict(case, weights), case.model_type, heads)


def gradients(output: Tensor, weights: Weights) -> Weights:
    """The gradients of a fixed random sum of the outputs, by name."""
    generator = torch.Generator().manual_seed(2)
    downstream = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    found = torch.autograd.grad((output * downstream).sum(), list(weights.values()))
    return dict(zip(weights, found, strict=True))


def published_parameters(model: nn.Module) -> Weights:
    """The parameters under their published names."""
    names = published_names(model)
    return {names[name]: parameter for name, parameter in model.named_parameters()}


def to_float64(weights: Weights) -> Weights:
    """The same numbers in float64, as leaves."""
    return {name: weight.detach().double().requires_grad_() for name, weight in weights.items()}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest error, relative to the largest number of `expected`."""
    exact = expected.detach().double()
    return float((found.detach().reshape(exact.shape) - exact).abs().max() / exact.abs().max())


def largest_error(found: Weights, expected: Weights) -> float:
    """The largest relative error over all tensors. Both arguments must have the same names."""
    assert found.keys() == expected.keys()
    return max(relative_error(found[name], expected[name]) for name in expected)


@EVERY_CASE
def test_float64_logits_and_gradients_equal_the_published_ones(case: Shape) -> None:
    weights, ids = random_weights(case, torch.float64), tokens(case, 3, 21)
    model = loaded(case, weights)
    found, published = model(ids), logits(case, weights, ids)
    assert found.dtype == torch.float64
    assert relative_error(found, published) < 1e-10
    assert largest_error(gradients(found, published_parameters(model)), gradients(published, weights)) < 1e-10


@EVERY_CASE
def test_float32_logits_and_gradients_equal_the_published_ones(case: Shape) -> None:
    weights, ids = random_weights(case, torch.float32), tokens(case, 3, 21)
    model = loaded(case, weights)
    found, published = model(ids), logits(case, weights, ids)
    assert found.dtype == torch.float32
    assert relative_error(found, published) < 1e-6

    exact = to_float64(weights)
    exact_gradients = gradients(logits(case, exact, ids), exact)
    rounding = largest_error(gradients(published, weights), exact_gradients)
    assert rounding < 1e-4
    assert largest_error(gradients(found, published_parameters(model)), exact_gradients) < 4 * rounding


@EVERY_CASE
def test_a_float32_checkpoint_can_be_converted_to_float64(case: Shape) -> None:
    single, ids = random_weights(case, torch.float32), tokens(case, 2, 13)
    model, weights = loaded(case, single).double(), to_float64(single)
    found, published = model(ids), logits(case, weights, ids)
    assert relative_error(found, published) < 1e-10
    assert largest_error(gradients(found, published_parameters(model)), gradients(published, weights)) < 1e-10


@EVERY_TYPE
def test_every_kind_of_source_gives_the_same_model(model_type: int, tmp_path: Path) -> None:
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
def test_loading_copies_the_tensors_and_uses_no_random_number(model_type: int) -> None:
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
def test_stepping_a_loaded_model_equals_running_it(case: Shape) -> None:
    model, ids = loaded(case, random_weights(case, torch.float64)), tokens(case, 2, 11)
    assert isinstance(model, Model)
    state, stepped = model.initial_state(2), []
    for at_time in ids.unbind(1):
        position, state = model.step(at_time, state)
        stepped.append(position)
    torch.testing.assert_close(torch.stack(stepped, dim=1), model(ids), atol=1e-12, rtol=1e-12)


@EVERY_CASE
def test_a_loaded_model_has_the_published_number_of_parameters(case: Shape) -> None:
    weights = random_weights(case, torch.float32)
    trained = sum(parameter.numel() for parameter in loaded(case, weights).parameters())
    assert trained == sum(weight.numel() for weight in weights.values())


@pytest.mark.parametrize("model_type", [0, 10])
def test_one_hot_inputs_refuse_tokens_outside_the_vocabulary(model_type: int) -> None:
    case = Shape(model_type, one_hot=True)
    model = loaded(case, random_weights(case, torch.float32))
    for outside in (-1, case.vocabulary):
        with pytest.raises(IndexError):
            model(torch.tensor([[0, outside]]))


@pytest.mark.parametrize("case", [case for case in CASES if case.positions], ids=str)
def test_a_table_of_positions_is_loaded_but_not_trained(case: Shape) -> None:
    weights = random_weights(case, torch.float32)
    model = loaded(case, weights)
    assert isinstance(model, PositionalModel)
    assert model.state_dict()["table"].shape == (case.positions, case.hidden)
    assert set(published_names(model).values()) == set(weights)
    assert model(tokens(case, 1, case.positions)).shape == (1, case.positions, case.classes)
    with pytest.raises(UserError, match=r"ends at 40; choose at most that, not 41"):
        model(tokens(case, 1, case.positions + 1))


@EVERY_TYPE
def test_a_model_built_here_has_published_names(model_type: int) -> None:
    case = Shape(model_type)
    spec = ModelSpec(12, case.layers, 3, 2, case.embedding if model_type in (0, 10) else None)
    model = build(MODELS[model_type].mixer, spec, case.vocabulary, case.classes, seed=0)
    assert set(published_names(model).values()) == random_weights(case, torch.float32).keys()


def test_other_models_have_no_published_names() -> None:
    with pytest.raises(UserError, match="choose one of: LSTM, Transformer, DeltaNet"):
        published_names(nn.Linear(2, 2))


OTHER_TYPES = [(own, claimed) for own in MODELS for claimed in MODELS if own != claimed and {own, claimed} != {8, 9}]
"""Types 8 and 9 have the same names and shapes, so that they cannot be distinguished."""


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
def test_heads_that_the_weights_do_not_determine_must_be_given(model_type: int) -> None:
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
        # A checkpoint without the table is a model without positions. An LSTM without embedding reads one-hot inputs.
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


@pytest.mark.parametrize("model_type", [2, 7, 8, 9, 12])
def test_the_two_copies_of_a_feed_forward_weight_must_agree(model_type: int) -> None:
    saved = state_dict(Shape(model_type), random_weights(Shape(model_type), torch.float32))
    for name in [name for name in saved if ".ff_layers." in name]:
        with pytest.raises(UserError, match=rf"a corrupt checkpoint: .*'{name}' are one weight but differ"):
            load_checkpoint(saved | {name: saved[name] + 1e-3}, model_type, 3)


def test_the_weights_of_a_diverged_run_load() -> None:
    weights = random_weights(Shape(7), torch.float32)
    diverged = {name: torch.full_like(weight, torch.nan) for name, weight in weights.items()}
    assert loaded(Shape(7), diverged)(tokens(Shape(7), 1, 3)).isnan().all()


CHANGES: dict[str, tuple[Callable[[Weights], object], str]] = {
    "a wider embedding": (
        lambda saved: saved | {"embedding.weight": torch.zeros(5, 13)},
        r"'embedding.weight' has the shape \[5, 13\] where \[5, 12\] is expected",
    ),
    "a wider table": (
        lambda saved: saved | {"layers.0.pe": torch.zeros(9, 1, 13)},
        r"'layers.0.pe' has the shape \[9, 1, 13\] where \[positions, 1, 12\] is expected",
    ),
    "a flat table": (lambda saved: saved | {"layers.0.pe": torch.zeros(9, 12)}, r"where \[positions, 1, 12\]"),
    "integers": (
        lambda saved: saved | {"out_layer.bias": torch.zeros(4, dtype=torch.int64)},
        r"'out_layer.bias' is no tensor of floating-point numbers but torch.int64",
    ),
    "no tensor": (lambda saved: saved | {"out_layer.bias": 3}, r"'out_layer.bias' is no tensor .* but int"),
    "two precisions": (
        lambda saved: saved | {"out_layer.bias": torch.zeros(4, dtype=torch.float64)},
        r"'out_layer.bias' is torch.float64 where the tensors before it are torch.float32",
    ),
    "a layer left out": (
        lambda saved: {name: tensor for name, tensor in saved.items() if not name.startswith("layers.1.")},
        r"has no 'layers.1.R_k'",
    ),
    "a prefix on some names": (
        lambda saved: {name if "out" in name else f"module.{name}": tensor for name, tensor in saved.items()},
        r"has no 'embedding.weight'",
    ),
    "nothing": (lambda saved: {}, "no state dict"),
    "nothing inside": (lambda saved: {"model_state_dict": None}, "no state dict"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_state_dict_is_refused_in_one_line(change: str) -> None:
    changed, expected = CHANGES[change]
    case = Shape(7, positions=40)
    with pytest.raises(UserError, match=expected) as refused:
        load_checkpoint(changed(state_dict(case, random_weights(case, torch.float32))), 7)
    assert "\n" not in str(refused.value)


class Trap:
    """Writes a file if it is unpickled without restrictions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("way", ["checkpoint", "old checkpoint", "plain pickle"])
def test_a_malicious_pickle_is_refused_and_does_not_run(way: str, tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "trap.pt"
    saved = state_dict(Shape(0), random_weights(Shape(0), torch.float32))
    if way == "plain pickle":
        file.write_bytes(pickle.dumps(Trap(mark), protocol=2))
    else:
        content = {"epoch": Trap(mark), "model_state_dict": saved}
        torch.save(content, file, _use_new_zipfile_serialization=way == "checkpoint")
    with pytest.raises(UserError, match="cannot be read safely") as refused:
        load_checkpoint(file, 0)
    assert "\n" not in str(refused.value)
    assert not mark.exists()
    if way == "plain pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert mark.read_text() == "sprung", "an unrestricted reader runs the code"


def test_a_file_that_is_damaged_or_absent_is_refused(tmp_path: Path) -> None:
    for absent in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UserError, match="there is no file"):
            load_checkpoint(absent, 0)
    file = tmp_path / "damaged.pt"
    torch.save(state_dict(Shape(0), random_weights(Shape(0), torch.float32)), file)
    whole = file.read_bytes()
    for damaged in (b"", b"hello", whole[: len(whole) // 2], b"\x80\x02" + whole):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read safely"):
            load_checkpoint(file, 0)
    torch.save([1, 2], file)
    with pytest.raises(UserError, match="no state dict"):
        load_checkpoint(file, 0)
