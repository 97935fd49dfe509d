"""Initialisation schemes: the matrices of the mixers have the named distribution, and nothing else changes."""

import pytest
import torch

from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.model.initialisation import INITIALISATIONS
from fwplab.model.model import Model, ModelSpec, build


def build_model(name: str, scheme: str, seed: int = 0) -> Model:
    spec = ModelSpec(hidden=64, layers=2, heads=4, initialisation=scheme)  # type: ignore[arg-type]
    return build(MIXERS.load(name)(), spec, 3, 2, seed)


@pytest.mark.parametrize("name", MIXERS.own_names())
@pytest.mark.parametrize("scheme", INITIALISATIONS[1:])
def test_a_scheme_redraws_the_matrices_of_the_mixers_and_nothing_else(name: str, scheme: str) -> None:
    own, other = build_model(name, "own"), build_model(name, scheme)
    for part, weight in own.named_parameters():
        new = dict(other.named_parameters())[part]
        if not part.startswith("mixers.") or weight.dim() < 2:
            assert weight.dim() < 2 or part.startswith(("embedding", "feed_forwards", "readout"))
            continue
        for matrix in new.view(-1, *new.shape[-2:]):
            rows, columns = matrix.shape
            if scheme == "xavier":
                deviation = (2 / (rows + columns)) ** 0.5
                assert abs(matrix.std().item() / deviation - 1) < 5 / (2 * rows * columns) ** 0.5
            else:
                small = matrix if rows <= columns else matrix.T
                torch.testing.assert_close(small @ small.T, torch.eye(min(rows, columns)), atol=1e-4, rtol=0)


def test_the_seed_fixes_the_weights_and_own_is_the_default() -> None:
    for scheme in INITIALISATIONS:
        left, right = build_model("srwm", scheme).state_dict(), build_model("srwm", scheme).state_dict()
        assert all(torch.equal(left[name], right[name]) for name in left)
    plain = build(MIXERS.load("srwm")(), ModelSpec(hidden=64, layers=2, heads=4), 3, 2, 0).state_dict()
    assert all(torch.equal(plain[name], weight) for name, weight in build_model("srwm", "own").state_dict().items())
    with pytest.raises(UserError, match="own, xavier, orthogonal"):
        build_model("srwm", "zeros")
