"""The switches of the starting weights: each changes its own parameters by its factor, and nothing else."""

import math

import pytest
import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers import MIXERS, MixerSpec
from fwplab.mixers._start import memory_lengths
from fwplab.model.model import Model, ModelSpec, build
from fwplab.ops.scan import prefer
from fwplab.training.spec import mixer_from_dict, to_dict

SHAPE = ModelSpec(hidden=16, layers=2, heads=4)
SELF_REFERENCE = {"self_reference": "value,query,key,rate"}
SWITCHES = [
    *((name, {"rate_bias": -3.0, "rate_scale": 2.0, "value_scale": 5.0}) for name in ("delta-net", "recurrent-delta")),
    *((name, {"time_scales": 100.0}) for name in ("delta-net", "recurrent-delta", "fast-weight-program")),
    ("recurrent-delta", {"feedback_scale": 0.1, "rate_bias": -3.0}),
    ("fast-weight-program", {"feedback_scale": 0.1, "rate_bias": -3.0, "value_scale": 5.0}),
    ("fast-weight-program", {**SELF_REFERENCE, "time_scales": 100.0, "input_softmax": True, "feedback_scale": 0.1}),
    ("fast-weight-program", {**SELF_REFERENCE, "feedback": "none", "rate_bias": -3.0, "value_scale": 5.0}),
    ("srwm", {"rate_bias": -3.0, "rate_scale": 2.0, "value_scale": 5.0, "input_softmax": True}),
    ("srwm", {"time_scales": 100.0, "input_softmax": True}),
    ("split-delta-net", {"time_scales": 100.0, "gate_scale": 2.0, "value_scale": 5.0, "write_bias": -1.0}),
    *((name, {"forget_bias": 1.0, "time_scales": 100.0}) for name in ("lstm", "e-lstm")),
]
IDS = [f"{name}-{'-'.join(switches)}" for name, switches in SWITCHES]


def build_model(name: str, switches: dict[str, object], **shape: int) -> Model:
    return build(MIXERS.load(name)(**switches), ModelSpec(**{**vars(SHAPE), **shape}), 4, 3, seed=0).double()


def tokens(*shape: int) -> Tensor:
    return torch.randint(4, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "switches"), SWITCHES, ids=IDS)
def test_stepping_equals_running_and_gradients_equal_the_reference(name: str, switches: dict[str, object]) -> None:
    model, ids = build_model(name, switches), tokens(2, 11)
    whole = model(ids)
    state, stepped = model.initial_state(2), []
    for at_time in ids.unbind(1):
        logits, state = model.step(at_time, state)
        stepped.append(logits)
    torch.testing.assert_close(torch.stack(stepped, 1), whole, atol=1e-10, rtol=1e-10)
    labels = ids % 3
    gradients = torch.autograd.grad(model.loss(ids, labels), model.parameters())
    with prefer("reference"):
        expected = torch.autograd.grad(model.loss(ids, labels), model.parameters())
    for found, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, right, atol=1e-9, rtol=1e-7)
    trained = dict(zip((n for n, _ in model.named_parameters()), gradients, strict=True))
    assert all(gradient.abs().sum() > 0 for part, gradient in trained.items() if part.endswith("bias"))


@pytest.mark.parametrize(("name", "switches"), SWITCHES, ids=IDS)
def test_a_spec_with_switches_is_unchanged_by_json(name: str, switches: dict[str, object]) -> None:
    spec = MIXERS.load(name)(**switches)
    assert to_dict(spec, defaults=False) == {"name": name, **switches}
    assert mixer_from_dict(to_dict(spec)) == spec


def changed_parameters(spec: MixerSpec, published: MixerSpec) -> dict[str, tuple[Tensor, Tensor]]:
    """The parameters of the first layer that the switches change: new and published value."""
    new, old = (dict(build(each, SHAPE, 4, 3, 0).named_parameters()) for each in (spec, published))
    assert {name for name in new if name not in old} <= {f"mixers.{layer}.rate_bias" for layer in (0, 1)}
    prefix = "mixers.0."
    return {
        name.removeprefix(prefix): (new[name].detach(), parameter.detach())
        for name, parameter in old.items()
        if name.startswith(prefix) and not torch.equal(new[name], parameter)
    }


@pytest.mark.parametrize("name", ["delta-net", "recurrent-delta", "fast-weight-program"])
def test_scales_multiply_only_their_own_rows(name: str) -> None:
    kind = MIXERS.load(name)
    changed = changed_parameters(kind(rate_bias=-3.0, rate_scale=2.0, value_scale=5.0), kind())
    new, old = (weight.unflatten(0, (4, -1)) for weight in changed.pop("slow_net.weight"))
    assert not changed
    query, value, rate = slice(0, 8), slice(8, 12), slice(12, 13)
    assert torch.equal(new[:, query], old[:, query])
    assert torch.equal(new[:, value], 5 * old[:, value])
    assert torch.equal(new[:, rate], 2 * old[:, rate])


@pytest.mark.parametrize("name", ["delta-net", "recurrent-delta", "srwm", "fast-weight-program"])
def test_the_output_scale_multiplies_only_the_output_projection(name: str) -> None:
    kind = MIXERS.load(name)
    for switches in ({}, SELF_REFERENCE) if name == "fast-weight-program" else ({},):
        changed = changed_parameters(kind(output_scale=4.0, **switches), kind(**switches))
        new, old = changed.pop("out_linear.weight")
        assert not changed
        assert torch.equal(new, 4 * old)


def test_the_feedback_scale_multiplies_only_the_recurrent_weights() -> None:
    kind = MIXERS.load("recurrent-delta")
    changed = changed_parameters(kind(feedback_scale=0.5), kind())
    assert set(changed) == {"recurrent_query", "recurrent_key", "recurrent_value", "recurrent_beta"}
    assert all(torch.equal(new, old / 2) for new, old in changed.values())


def test_memory_lengths_are_equally_spaced_on_a_logarithmic_scale() -> None:
    torch.testing.assert_close(memory_lengths(1000.0, 4), torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    torch.testing.assert_close(memory_lengths(1000.0, 1), torch.tensor([1000.0]))
    assert torch.equal(memory_lengths(0.0, 3), torch.ones(3))


@pytest.mark.parametrize("name", ["delta-net", "recurrent-delta", "srwm"])
def test_time_scales_set_the_rate_of_each_head_by_its_memory_length(name: str) -> None:
    """With zero rate weights, `beta = sigmoid(bias) = 1 / (1 + m)` for memory length m, and writes are unchanged."""
    switches = {"input_softmax": True, "rate_bias": 0.0} if name == "srwm" else {"feedback_scale": 0.0}
    switches = {} if name == "delta-net" else switches
    kind = MIXERS.load(name)
    layers = [
        build(kind(**switches, rate_scale=0.0, time_scales=scales), SHAPE, 4, 3, 0).mixers[0] for scales in (0, 1000)
    ]
    x = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    plain, scaled = (layer.view(x, tuple(part[:1] for part in layer.initial_state(1))) for layer in layers)
    lengths = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    torch.testing.assert_close(scaled.rate, (1 / (1 + lengths))[:, None].expand_as(scaled.rate[0])[None])
    if name != "srwm":
        torch.testing.assert_close(scaled.wrote, plain.wrote, rtol=1e-4, atol=1e-7)


def test_the_rate_bias_of_srwm_is_exact_if_the_input_sums_to_1() -> None:
    """With constant `w_b`, a softmax input gives the rate `sigmoid(bias)`; a raw input gives rates on both sides."""
    x = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    for softmax in (True, False):
        spec = MIXERS.load("srwm")(rate_bias=-4.0, rate_scale=0.0, input_softmax=softmax)
        layer = build(spec, SHAPE, 4, 3, 0).mixers[0]
        rates = layer.view(x, layer.initial_state(50)).rate
        from_bias = torch.full_like(rates, 1 / (1 + math.exp(4)))
        assert torch.allclose(rates, from_bias) == softmax
        assert softmax or (rates.min() < 0.01 and rates.max() > 0.99)


def test_time_scales_of_the_lstms_spread_the_biases_of_the_units() -> None:
    for name, gate in (("lstm", "cell.bias_ih_l0"), ("e-lstm", "bias_f")):
        kind = MIXERS.load(name)
        changed = changed_parameters(kind(forget_bias=1.0, time_scales=1000.0), kind())
        new, old = changed.pop(gate)
        assert not changed
        moved, logs = (new - old).flatten(), memory_lengths(1000.0, 16).log()
        if name == "lstm":
            torch.testing.assert_close(moved[:16], -logs, rtol=1e-5, atol=1e-5)
            assert torch.equal(moved[32:], torch.zeros(32))
            moved = moved[16:32]
        torch.testing.assert_close(moved, 1 + logs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("delta-net", {"time_scales": 0.5}, "1 symbol or more"),
        ("lstm", {"time_scales": -3.0}, "1 symbol or more"),
        ("split-delta-net", {"time_scales": math.inf}, "1 symbol or more"),
        ("srwm", {"time_scales": 100.0}, "input_softmax=true"),
        ("fast-weight-program", {**SELF_REFERENCE, "time_scales": 100.0}, "input_softmax=true"),
        ("fast-weight-program", {"input_softmax": True}, "self_reference"),
        ("fast-weight-program", {"rate": "fixed", "rate_bias": -4.0}, "sigmoid or double"),
        ("fast-weight-program", {"rate": "fixed", "rate_scale": 2.0}, "sigmoid or double"),
    ],
)
def test_contradicting_switches_are_refused(name: str, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MIXERS.load(name)(**wrong)
