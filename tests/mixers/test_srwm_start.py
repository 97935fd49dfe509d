"""Starting weights of SRWM for counting: uniform keys, one constant input a head, and small inputs."""

import math
from dataclasses import replace

import pytest
import torch

from fwplab.errors import UserError
from fwplab.mixers.srwm import NOT_ADDRESSED, SRWM
from fwplab.model.model import Model, ModelSpec, build
from fwplab.ops.scan import prefer
from fwplab.ops.srwm import read
from fwplab.training.run import mixer_from_dict, to_dict

SHAPE = ModelSpec(hidden=16, layers=1, heads=4)
START = SRWM(
    key_scale=0.0,
    query_scale=0.3,
    rate_scale=0.0,
    rate_bias=2.0,
    self_rate_bias=-12.0,
    constant_input=3.0,
    input_scale=0.003,
    output_scale=100.0,
)


def build_model(spec: SRWM) -> Model:
    return build(spec, SHAPE, 4, 3, seed=0).double()


def parts(model: Model) -> tuple[torch.Tensor, ...]:
    """Output, query, key and rates of every symbol before the first update, `[symbol, heads, ...]`."""
    layer = model.mixers[0]
    with torch.no_grad():
        inputs = model.embedding.weight.unflatten(-1, (4, -1))
        return tuple(part.squeeze(-2) for part in read(layer.initial_state(4), inputs))


def test_stepping_equals_running_and_gradients_equal_the_reference() -> None:
    model = build_model(replace(START, input_scale=0.25, output_scale=1.0))
    ids = torch.randint(4, (2, 11), generator=torch.Generator().manual_seed(1))
    whole, state, stepped = model(ids), model.initial_state(2), []
    for at_time in ids.unbind(1):
        logits, state = model.step(at_time, state)
        stepped.append(logits)
    torch.testing.assert_close(torch.stack(stepped, 1), whole, atol=1e-10, rtol=1e-10)
    gradients = torch.autograd.grad(model.loss(ids, ids % 3), model.parameters())
    with prefer("reference"):
        expected = torch.autograd.grad(model.loss(ids, ids % 3), model.parameters())
    for found, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, right, atol=1e-9, rtol=1e-7)


def test_the_constant_input_alone_sets_the_rates_and_gets_no_query_or_key() -> None:
    _, query, key, rates = parts(build_model(START))
    from_biases = torch.sigmoid(torch.tensor([2.0, -10.0, -10.0, -10.0], dtype=torch.float64))
    torch.testing.assert_close(rates, from_biases.expand_as(rates), rtol=1e-5, atol=0)
    torch.testing.assert_close(key[..., :3], key[..., :1].expand(-1, -1, 3))
    assert key[..., 3].max() < math.exp(NOT_ADDRESSED)
    assert query[..., 3].max() < math.exp(NOT_ADDRESSED)
    leak = ((query - key) * key).sum(-1).abs().max()
    _, query, key, _ = parts(build_model(SRWM()))
    assert leak < math.exp(NOT_ADDRESSED) < ((query - key) * key).sum(-1).abs().min()


def test_with_uniform_keys_the_order_of_the_steps_does_not_matter() -> None:
    """W_y then depends only on how often each symbol was read. From the published start, the order matters too."""
    once, again = torch.tensor([[0] * 30 + [1] * 30]), torch.tensor([[1, 0] * 30])
    uniform = SRWM(input_softmax=True, key_scale=0.0, query_scale=3.0, self_rate_bias=-60.0)
    for spec, exact in ((uniform, True), (replace(uniform, key_scale=1.0), False)):
        model = build_model(spec)
        with torch.no_grad():
            first, second = (model.scan(ids)[1][0][0] for ids in (once, again))
        # 60 additions of numbers below 10, rounded to 53 bits
        assert torch.allclose(first, second, rtol=0, atol=60 * 10 * 2**-53) == exact
        assert not torch.allclose(first, model.mixers[0].w_y)


COPY = replace(
    START, constant_input=1.0, query_scale=3.0, copy_row=True, copy_slope=0.0, copy_bias=-40.0, input_scale=1.0
)


def test_symbols_may_read_the_count_differently() -> None:
    spec = replace(COPY, copy_slope=1.0, copy_bias=-2.0, copy_noise=0.5)
    model = build(spec, replace(SHAPE, hidden=32), 4, 3, seed=0).double()
    inputs = model.embedding.weight.unflatten(-1, (4, -1))
    assert torch.equal(inputs[..., -1], torch.ones_like(inputs[..., -1]))
    assert torch.equal(inputs[..., -2], -inputs[..., -3])
    assert 0.2 < inputs[..., -2].std() < 1
    _, query, key, rates = parts(model)
    others = key[..., [0, 1, 2, 3, 4, 6]]
    torch.testing.assert_close(others, others[..., :1].expand_as(others))
    assert max(key[..., 7].max(), query[..., [5, 7]].max()) < math.exp(NOT_ADDRESSED + 3)
    expected = torch.sigmoid(torch.tensor([2.0, -10.0, -10.0, -10.0], dtype=torch.float64))
    torch.testing.assert_close(rates, expected.expand_as(rates), rtol=1e-4, atol=0)


def test_keys_are_uniform_over_all_rows_but_the_copy_row() -> None:
    model = build_model(replace(COPY, copy_slope=1.0, copy_bias=-2.0, input_scale=0.003))
    inputs = model.embedding.weight.unflatten(-1, (4, -1))
    assert torch.equal(inputs[..., -1], torch.ones_like(inputs[..., -1]))
    torch.testing.assert_close(inputs.sum(-1), torch.zeros_like(inputs[..., -1]), rtol=0, atol=1e-6)
    _, query, key, rates = parts(model)
    others = key[..., [0, 1, 3]]
    torch.testing.assert_close(others, others[..., :1].expand_as(others))
    assert 0.5 < key[..., 2].log().sub(key[..., 0].log()).add(2).abs().max() < 5
    assert query[..., 2].max() < math.exp(NOT_ADDRESSED + 3)
    expected = torch.sigmoid(torch.tensor([2.0, -10.0, -10.0, -10.0], dtype=torch.float64))
    torch.testing.assert_close(rates, expected.expand_as(rates), rtol=1e-4, atol=0)


@torch.no_grad()
def test_a_key_that_addresses_the_copy_row_resets_what_is_read() -> None:
    """Symbol 3 gets such a key. What is read afterwards does not depend on what was counted before."""
    model = build_model(replace(COPY, self_rate_bias=-60.0, rate_bias=40.0))
    layer = model.mixers[0]
    inputs = model.embedding.weight.unflatten(-1, (4, -1))
    inputs[:3, :, :2] = 0
    inputs[1, :, :2] = 0.5
    inputs[3, :, :2] = torch.tensor([1.0, -1.0], dtype=torch.float64)
    layer.w_k[:, 0, 2], layer.w_k[:, 1, 2] = 40.0, -40.0

    def read_after(ids: list[int]) -> torch.Tensor:
        (w_y, *_), *_ = model.scan(torch.tensor([ids]))[1]
        return inputs[0].unsqueeze(-2) @ w_y

    assert read_after([1] * 9).abs().max() > 0.1
    tolerance = 14 * math.exp(NOT_ADDRESSED)  # the weight of the copy row in the queries of 14 steps
    for after in ([], [1] * 4):
        long, short = read_after([1] * 9 + [3, *after]), read_after([1, 3, *after])
        torch.testing.assert_close(long, short, rtol=0, atol=tolerance)


def test_the_input_scale_leaves_all_products_unchanged() -> None:
    """The scale is a power of two, so that nothing is rounded."""
    plain, scaled = build_model(SRWM()), build_model(SRWM(input_scale=0.25))
    assert torch.equal(scaled.embedding.weight, plain.embedding.weight / 4)
    for left, right in zip(parts(scaled), parts(plain), strict=True):
        assert torch.equal(left, right)


def test_a_spec_with_these_weights_is_unchanged_by_json() -> None:
    assert to_dict(SRWM(), defaults=False) == {"name": "srwm"}
    assert mixer_from_dict(to_dict(START)) == START


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"constant_input": 1.0, "input_softmax": True}, "input_softmax=false"),
        ({"input_scale": 0.1, "normalised_input": True}, "normalised_input=false"),
        ({"input_scale": 0.0}, "above 0"),
        ({"copy_row": True}, "choose constant_input=1"),
    ],
)
def test_contradicting_switches_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SRWM(**wrong)


def test_starting_weights_of_the_embedding_need_one_layer() -> None:
    with pytest.raises(UserError, match="choose 1 layer, not 2"):
        build(START, replace(SHAPE, layers=2), 4, 3, seed=0)
    build(SRWM(key_scale=0.0), replace(SHAPE, layers=2), 4, 3, seed=0)


def test_a_copy_row_needs_heads_of_four_inputs() -> None:
    with pytest.raises(UserError, match="heads with 4 inputs or more, not 2"):
        build(COPY, replace(SHAPE, heads=8), 4, 3, seed=0)
