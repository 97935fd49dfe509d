"""The delta product (several delta steps a position): every form against the reference, and special cases."""

import pytest
import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.ops import delta, delta_product, prefer

SHAPES = [(2, 17, 2, 3, 8), (3, 5, 3, 2, 4), (1, 1, 2, 1, 1), (2, 0, 2, 2, 4), (2, 9, 1, 2, 5)]


def draw(batch: int, time: int, steps: int, heads: int, d: int) -> list[Tensor]:
    """Query, keys of norm 1, values, rates between 0 and 2, and an initial state."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    key = torch.nn.functional.normalize(normal(batch, time, steps, heads, d), dim=-1)
    rates = 2 * torch.sigmoid(normal(batch, time, steps, heads))
    state = normal(batch, heads, d, d)
    return [normal(batch, time, heads, d), key, normal(batch, time, steps, heads, d), rates, state]


def with_gradients(inputs: list[Tensor], backend: str) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output, state = delta_product(*leaves[:4], initial_state=leaves[4], backend=backend)
    total = output.sin().sum() + state.cos().sum()
    return [output, state, *torch.autograd.grad(total, leaves, materialize_grads=True)]


@pytest.mark.parametrize("backend", ["auto", "chunk"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_form_equals_the_reference(shape: tuple[int, ...], backend: str) -> None:
    inputs = draw(*shape)
    for fast, slow in zip(with_gradients(inputs, backend), with_gradients(inputs, "reference"), strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-10, rtol=1e-10)


def test_the_reference_is_a_product_of_householder_matrices() -> None:
    query, key, value, beta, state = draw(1, 1, 2, 1, 4)
    first, second = (
        torch.eye(4, dtype=torch.float64) - rate * k.unsqueeze(1) * k
        for k, rate in zip(key[0, 0, :, 0], beta[0, 0, :, 0], strict=True)
    )
    after = delta_product(query, key, torch.zeros_like(value), beta, initial_state=state, backend="reference").state
    torch.testing.assert_close(after[0, 0], second @ first @ state[0, 0])


def test_one_step_a_position_equals_the_delta_rule() -> None:
    query, key, value, beta, state = draw(2, 9, 1, 2, 4)
    one = delta_product(query, key, value, beta, initial_state=state)
    same = delta(query, key[:, :, 0], value[:, :, 0], beta[:, :, 0], initial_state=state)
    torch.testing.assert_close(one.output, same.output)
    torch.testing.assert_close(one.state, same.state)


@pytest.mark.parametrize("backend", ["auto", "chunk", "reference"])
def test_packed_sequences_equal_separate_ones(backend: str) -> None:
    query, key, value, beta, _ = draw(1, 12, 3, 2, 4)
    packed = delta_product(query, key, value, beta, cu_seqlens=torch.tensor([0, 5, 5, 12]), backend=backend)
    assert packed.state.shape == (3, 2, 4, 4)
    for index, (start, end) in enumerate([(0, 5), (5, 5), (5, 12)]):
        alone = delta_product(*(part[:, start:end] for part in (query, key, value, beta)), backend=backend)
        torch.testing.assert_close(packed.output[:, start:end], alone.output)
        torch.testing.assert_close(packed.state[index], alone.state[0])


def test_a_preferred_form_is_used_and_an_unknown_backend_refused() -> None:
    inputs = draw(2, 5, 2, 1, 4)[:4]
    with prefer("reference"):
        torch.testing.assert_close(delta_product(*inputs).output, delta_product(*inputs, backend="reference").output)
    with pytest.raises(UserError, match="no backend 'tpu'"):
        delta_product(*inputs, backend="tpu")
