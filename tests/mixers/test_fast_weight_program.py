"""The general fast weight program: four settings equal the paper's layers, and its fast forms equal the reference."""

import itertools

import pytest
import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.mixers.fast_weight_program import PRESETS, FastWeightProgram
from fwplab.mixers.mixer import Mixer
from fwplab.model.model import ModelSpec, build
from fwplab.ops import prefer
from fwplab.ops.variation import CHOICES, PARTS

WIDTH, HEADS = 12, 3
RENAMED = {
    "recurrent.query": "recurrent_query",
    "recurrent.key": "recurrent_key",
    "recurrent.value": "recurrent_value",
    "recurrent.rate": "recurrent_beta",
    **{
        f"blocks.{general}": f"w_{published}"
        for general, published in (("value", "y"), ("query", "q"), ("key", "k"), ("rate", "b"))
    },
}


def layer(spec: FastWeightProgram, seed: int = 0) -> Mixer:
    torch.manual_seed(seed)
    return spec.build(WIDTH, WIDTH, HEADS).double()


def inputs(batch: int = 2, time: int = 9) -> Tensor:
    return torch.randn(batch, time, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", PRESETS)
def test_four_settings_equal_the_layers_of_the_paper(name: str) -> None:
    general, published = layer(PRESETS[name]), MIXERS.load(name)().build(WIDTH, WIDTH, HEADS).double()
    weights = {RENAMED.get(part, part): weight for part, weight in general.state_dict().items()}
    if name == "recurrent-delta":
        weights["recurrent_beta"] = weights["recurrent_beta"].squeeze(-1)
    published.load_state_dict(weights)
    torch.testing.assert_close(general(inputs())[0], published(inputs())[0], atol=1e-12, rtol=1e-12)
    assert sum(p.numel() for p in general.parameters()) == sum(p.numel() for p in published.parameters())


@pytest.mark.parametrize("name", ["linear-transformer", "delta-net"])
def test_feedback_with_zero_weights_changes_nothing(name: str) -> None:
    without = layer(PRESETS[name])
    fed = layer(FastWeightProgram(**{**vars(PRESETS[name]), "feedback": "raw"}))
    for recurrent in fed.recurrent.values():  # type: ignore[union-attr, operator]
        torch.nn.init.zeros_(recurrent)
    fed.load_state_dict(without.state_dict(), strict=False)
    left, right = without(inputs())[0], fed(inputs())[0]
    torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-12)
    left.square().sum().backward()
    right.square().sum().backward()
    others = dict(fed.named_parameters())
    for part, weight in without.named_parameters():
        torch.testing.assert_close(weight.grad, others[part].grad, atol=1e-10, rtol=1e-10)


ALL_SETTINGS = [
    FastWeightProgram(update=u, feedback=f, normalisation=n, rate=r, self_reference=s, feedback_into="value,rate")  # type: ignore[arg-type]
    for (u, f, n, r), s in itertools.product(
        itertools.product(*(CHOICES | {"feedback": ("none", "raw", "tanh")}).values()), ("", "value,key")
    )
]


def describe(spec: FastWeightProgram) -> str:
    """The settings of a spec that the tests vary, for test ids."""
    varied = (spec.update, spec.feedback, spec.normalisation, spec.rate, spec.self_reference)
    return "-".join(part for part in varied if part)


@pytest.mark.parametrize("spec", ALL_SETTINGS, ids=describe)
def test_every_setting_gives_the_same_outputs_step_by_step_and_has_gradients(spec: FastWeightProgram) -> None:
    mixer, x = layer(spec), inputs(2, 6)
    whole, after = mixer(x)
    state, stepped = mixer.initial_state(2), []
    for at_time in x.unbind(1):
        output, state = mixer.step(at_time, state)
        stepped.append(output)
    torch.testing.assert_close(torch.stack(stepped, 1), whole, atol=1e-10, rtol=1e-10)
    for left, right in zip(state, after, strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=1e-10)
    whole.square().sum().backward()
    nonzero = [p.grad for p in mixer.parameters() if p.grad is not None and p.grad.abs().sum() != 0]
    assert all(gradient.isfinite().all() for gradient in nonzero)
    unused = {"recurrent.rate"} if spec.rate == "fixed" else set()
    assert len(nonzero) >= len(list(mixer.parameters())) - len(unused) - 1
    reference = layer(spec)
    with prefer("reference"):
        reference(x)[0].square().sum().backward()
    for left, right in zip(mixer.parameters(), reference.parameters(), strict=True):
        found, expected = (torch.zeros_like(left) if p.grad is None else p.grad for p in (left, right))
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-5)  # in some settings a value reaches 1e22


STABLE_SETTINGS = [spec for spec in ALL_SETTINGS[::5] if spec.normalisation != "none" or not spec.self_reference]


@pytest.mark.parametrize("spec", STABLE_SETTINGS, ids=describe)
def test_packed_strings_equal_separate_ones(spec: FastWeightProgram) -> None:
    model = build(spec, ModelSpec(hidden=8, heads=2), vocabulary=3, classes=2, seed=0).double()
    tokens = torch.randint(0, 3, (5, 9), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9, 1, 4, 0, 7])
    labels = torch.where(torch.arange(9) < lengths.unsqueeze(1), tokens % 2, -100)
    torch.testing.assert_close(model.loss(tokens, labels, lengths), model.loss(tokens, labels), rtol=1e-9, atol=1e-11)
    packed = model.embedding(torch.cat([row[:n] for row, n in zip(tokens, lengths, strict=True)])).unsqueeze(0)
    bounds = torch.tensor([0, 9, 10, 14, 14, 21])
    _, together = model.mix(packed, cu_seqlens=bounds)
    for place, length in enumerate(lengths.tolist()):
        _, alone = model.scan(tokens[place : place + 1, :length])
        for left, right in zip(together, alone, strict=True):
            for found, expected in zip(left, right, strict=True):
                torch.testing.assert_close(found[place : place + 1], expected, rtol=1e-9, atol=1e-11)


def test_blocks_outside_self_reference_stay_constant() -> None:
    mixer = layer(FastWeightProgram(feedback="none", self_reference="value, key"))
    _, after = mixer(inputs())
    for place, part in enumerate(PARTS):
        start = mixer.blocks[part].expand_as(after[place])  # type: ignore[index, union-attr]
        assert torch.equal(after[place], start) == (part in ("query", "rate"))


def test_when_the_value_block_is_constant_the_output_ignores_the_past() -> None:
    mixer, x = layer(FastWeightProgram(feedback="none", self_reference="query,key,rate")), inputs()
    torch.testing.assert_close(mixer(x)[0][:, -1:], mixer(x[:, -1:])[0])


@pytest.mark.parametrize(
    ("wrong", "choices"),
    [
        ({"update": "hebb"}, "delta, additive"),
        ({"feedback": "relu"}, "none, raw, tanh"),
        ({"feedback_into": "value,gate"}, "value, query, key, rate"),
        ({"self_reference": "y"}, "value, query, key, rate"),
    ],
)
def test_unknown_switches_name_the_choices(wrong: dict[str, str], choices: str) -> None:
    with pytest.raises(UserError, match=choices):
        FastWeightProgram(**wrong)  # type: ignore[arg-type]
