"""Every mixer: stepping equals running, states continue a sequence, and layers equal the published definitions."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fwplab.errors import UserError
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.mixers.srwm import SRWM
from fwplab.model.model import Model, ModelSpec, build
from fwplab.ops import linear

NAMES = MIXERS.own_names()
SMALL = ModelSpec(hidden=8, layers=1, heads=2)


def model(mixer: MixerSpec, **changes: int) -> Model:
    """A small model in float64 with noise on all weights, so that no weight keeps a special initial value."""
    made = build(mixer, ModelSpec(**{"hidden": 12, "layers": 2, "heads": 3, **changes}), 4, 3, seed=0).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
    return made


def tokens(*shape: int) -> Tensor:
    """Random token ids."""
    return torch.randint(4, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_stepping_equals_running(name: str) -> None:
    made, ids = model(MIXERS.load(name)()), tokens(3, 23)
    state, stepped = made.initial_state(3), []
    for at_time in ids.unbind(1):
        logits, state = made.step(at_time, state)
        stepped.append(logits)
    whole, after = made.scan(ids)
    torch.testing.assert_close(torch.stack(stepped, dim=1), whole, atol=1e-10, rtol=1e-10)
    for stepped_layer, whole_layer in zip(state, after, strict=True):
        for left, right in zip(stepped_layer, whole_layer, strict=True):
            torch.testing.assert_close(left, right, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_continues_the_sequence(name: str) -> None:
    made, ids = model(MIXERS.load(name)()), tokens(2, 20)
    first, state = made.scan(ids[:, :7])
    second, _ = made.scan(ids[:, 7:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), made(ids), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_do_not_depend_on_later_positions(name: str) -> None:
    made, ids = model(MIXERS.load(name)()), tokens(2, 12)
    changed = ids.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 4
    torch.testing.assert_close(made(ids)[:, :8], made(changed)[:, :8], atol=1e-12, rtol=1e-12)
    assert not torch.equal(made(ids)[:, 8:], made(changed)[:, 8:])


@pytest.mark.parametrize("name", NAMES)
def test_the_state_size_is_constant_exactly_if_the_spec_declares_it(name: str) -> None:
    spec = MIXERS.load(name)()
    made = model(spec)

    def size(length: int) -> int:
        return sum(tensor.numel() for layer in made.scan(tokens(1, length))[1] for tensor in layer)

    assert (size(30) == size(3) == made.state_size()) == spec.constant_memory


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_fixes_the_weights_and_leaves_the_global_generator_alone(name: str) -> None:
    spec = MIXERS.load(name)()
    before = torch.random.get_rng_state()
    first, second = build(spec, ModelSpec(), 3, 2, seed=5), build(spec, ModelSpec(), 3, 2, seed=5)
    other = build(spec, ModelSpec(), 3, 2, seed=6)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.readout.weight, other.readout.weight)


def test_a_linear_transformer_is_an_rnn_with_a_fixed_size_state() -> None:
    """Attention over all pairs of positions equals a recurrence with a state of constant size, as the paper says."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 31, 3, 5, dtype=torch.float64, generator=generator) for _ in range(3))
    scores = torch.einsum("bthd,bshd->bhts", query, key).tril()
    attention = torch.einsum("bhts,bshd->bthd", scores, value)
    state, outputs = None, []
    for position in range(31):
        here = slice(position, position + 1)
        output, state = linear(query[:, here], key[:, here], value[:, here], initial_state=state)
        outputs.append(output)
        assert state.shape == (2, 3, 5, 5)
    torch.testing.assert_close(torch.cat(outputs, dim=1), attention, atol=1e-10, rtol=1e-10)


def test_the_published_srwm_layer_and_its_switches() -> None:
    ids = tokens(2, 9)
    published, plain = model(SRWM()), model(SRWM(normalised_input=True, normalised_residual=False))
    plain.load_state_dict(published.state_dict())
    layer = published.mixers[0]
    x = torch.randn(2, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    first = layer(x)[0][:, 0]
    y = torch.einsum("bhi,hij->bhj", x[:, 0].unflatten(-1, (3, 4)), layer.w_y).flatten(1)
    normal = functional.layer_norm(x[:, 0], (12,), layer.layer_norm.weight, layer.layer_norm.bias)
    torch.testing.assert_close(first, normal + y @ layer.out_linear.weight.T)
    assert not torch.allclose(published(ids), plain(ids))


def test_initial_values_of_the_paper() -> None:
    wide = build(SRWM(), ModelSpec(hidden=256, layers=1, heads=4), 3, 2, seed=0).requires_grad_(False).mixers[0]
    assert float(wide.w_y.std()) == pytest.approx(1 / 8, rel=0.05)
    assert float(wide.w_q.std()) == pytest.approx(0.01 / 8, rel=0.05)
    assert float(wide.w_b.mean()) == pytest.approx(-1, abs=0.05)
    paper = ModelSpec(hidden=256, layers=1, heads=4)
    recurrent = build(MIXERS.load("recurrent-delta")(), paper, 3, 2, 0).requires_grad_(False).mixers[0]
    assert float(recurrent.recurrent_key.std()) == pytest.approx(1 / 8, rel=0.05)
    cell = build(MIXERS.load("e-lstm")(), ModelSpec(hidden=256, layers=3), 3, 2, 0).requires_grad_(False)
    assert len(cell.mixers) == 1
    assert float(cell.mixers[0].weight_z.std()) == pytest.approx(0.1, rel=0.05)
    copies = build(MIXERS.load("transformer")(), ModelSpec(), 3, 2, 0).mixers
    assert torch.equal(copies[0].in_linear.weight, copies[1].in_linear.weight)


def test_transformer_equals_the_one_of_torch() -> None:
    made = model(MIXERS.load("transformer")(), layers=1)
    layer = torch.nn.TransformerEncoderLayer(12, 3, 24, dropout=0.0, batch_first=True).double()
    mixer, feed_forward = made.mixers[0], made.feed_forwards[0]
    pairs = {
        layer.self_attn.in_proj_weight: mixer.in_linear.weight,
        layer.self_attn.in_proj_bias: mixer.in_linear.bias,
        layer.self_attn.out_proj.weight: mixer.out_linear.weight,
        layer.self_attn.out_proj.bias: mixer.out_linear.bias,
        layer.norm1.weight: mixer.layer_norm.weight,
        layer.norm1.bias: mixer.layer_norm.bias,
        layer.linear1.weight: feed_forward.linear1.weight,
        layer.linear1.bias: feed_forward.linear1.bias,
        layer.linear2.weight: feed_forward.linear2.weight,
        layer.linear2.bias: feed_forward.linear2.bias,
        layer.norm2.weight: feed_forward.layer_norm.weight,
        layer.norm2.bias: feed_forward.layer_norm.bias,
    }
    with torch.no_grad():
        for torch_weight, own_weight in pairs.items():
            torch_weight.copy_(own_weight)
    ids = tokens(2, 11)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(11, dtype=torch.float64)
    encoded = layer(made.embedding(ids), src_mask=mask)
    torch.testing.assert_close(made(ids), made.readout(made.final_norm(encoded)), atol=1e-10, rtol=1e-10)


def test_wrong_shapes_and_names_are_user_errors() -> None:
    with pytest.raises(UserError, match="5 heads do not divide a width of 32; choose from: 1, 2, 4, 8, 16, 32"):
        build(MIXERS.load("delta-net")(), ModelSpec(heads=5), 3, 2, 0)
    with pytest.raises(UserError, match="embedding as wide"):
        build(MIXERS.load("delta-net")(), ModelSpec(embedding=8), 3, 2, 0)
    with pytest.raises(UserError, match="did you mean 'srwm'"):
        MIXERS.load("srmw")


def test_specs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MIXERS.load("srwm")().rate_bias = 0.0


@pytest.mark.parametrize("name", [name for name in MIXERS.own_names() if MIXERS.load(name).packs])
def test_packed_strings_equal_padded_ones(name: str) -> None:
    model = build(MIXERS.load(name)(), ModelSpec(hidden=8, heads=2), vocabulary=3, classes=2, seed=0).double()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 3, (9, 12), generator=generator)
    lengths = torch.tensor([12, 1, 5, 0, 7, 7, 2, 11, 3])
    labels = torch.where(torch.arange(12) < lengths.unsqueeze(1), tokens % 2, -100)
    losses = [model.loss(tokens, labels, known) for known in (None, lengths)]
    gradients = [[loss, *torch.autograd.grad(loss, model.parameters())] for loss in losses]
    for padded, packed in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, padded, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_a_state_has_its_own_name(name: str) -> None:
    layer = model(MIXERS.load(name)()).mixers[0]
    state = layer.initial_state(2)
    named = layer.named_state(state)
    assert tuple(named) == layer.state_names
    assert all(part is one for part, one in zip(named.values(), state, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_built_depends_on_the_arguments_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the caller has set: the same weights, and the caller's settings and generators stay as they are."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    expected = build(MIXERS.load(name)(), SMALL, 3, 2, seed=7).state_dict()
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            found = build(MIXERS.load(name)(), SMALL, 3, 2, seed=7).state_dict()
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float64, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert not seeded
    assert torch.equal(torch.get_rng_state(), before)
    assert found.keys() == expected.keys()
    for key, weight in expected.items():
        assert not found[key].is_inference()
        assert found[key].dtype == weight.dtype
        assert torch.equal(found[key], weight)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_empty_strings_teaches_nothing(name: str) -> None:
    model = build(MIXERS.load(name)(), SMALL, 3, 2, seed=0)
    empty = torch.zeros(2, 0, dtype=torch.long)
    model.loss(empty, empty, torch.zeros(2, dtype=torch.long)).backward()
    assert model(empty).shape == (2, 0, 2)
    assert not any(p.grad is not None and p.grad.count_nonzero() for p in model.parameters())
