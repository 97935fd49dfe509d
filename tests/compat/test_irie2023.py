"""The published code's checkpoints: the same logits and gradients here, and one clear line for a wrong one."""

import pytest
import torch
from tests.compat.published import CASES, Shape, Weights, logits, random_weights, state_dict
from torch import Tensor

from fwplab.compat.irie2023 import PositionalModel, load_checkpoint, published_names
from fwplab.model import Model

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}
BOTH = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def tokens(case: Shape, *shape: int) -> Tensor:
    """Random token ids."""
    return torch.randint(case.vocabulary, shape, generator=torch.Generator().manual_seed(1))


def heads_if_needed(case: Shape) -> int | None:
    """What the weights don't tell."""
    return case.heads if case.model_type in (1, 8, 9) else None


def loaded(case: Shape, weights: Weights) -> Model | PositionalModel:
    """The model of a state dict."""
    return load_checkpoint(state_dict(case, weights), case.model_type, heads_if_needed(case))


def close(found: Tensor, expected: Tensor, tolerance: float, about: str) -> None:
    """Relative to the largest number of `expected`."""
    assert found.shape == expected.shape, about
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f"{about}: {error:.2e} over {tolerance:.0e}"


def rounding(case: Shape, ids: Tensor) -> float:
    """How far the restatement's own float32 is from its float64, relative."""
    single = random_weights(case, torch.float32)
    exact = logits(case, {name: tensor.detach().double() for name, tensor in single.items()}, ids)
    return float((logits(case, single, ids) - exact).abs().max() / exact.abs().max())


@BOTH
@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_and_gradients_are_the_published_ones(case: Shape, dtype: torch.dtype) -> None:
    weights, ids = random_weights(case, dtype), tokens(case, 3, 21)
    model = loaded(case, weights)
    ours, theirs = model(ids), logits(case, weights, ids)
    assert ours.dtype == dtype
    close(ours, theirs, TOLERANCE[dtype], "logits")

    downstream = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)
    (ours * downstream).sum().backward()
    (theirs * downstream).sum().backward()
    names = published_names(model)
    assert names.keys() == {name for name, _ in model.named_parameters()}
    assert sorted(names.values()) == sorted(weights)
    largest = max(float(weight.grad.abs().max()) for weight in weights.values())
    for name, parameter in model.named_parameters():
        expected = weights[names[name]].grad
        close(
            parameter.grad.reshape(expected.shape),
            expected,
            largest / float(expected.abs().max()) * TOLERANCE[dtype] * 4,
            name,
        )


def _unused() -> None: ...
