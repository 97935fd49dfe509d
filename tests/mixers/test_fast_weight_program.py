"""The frame of the ablations: four of its settings are the paper's models, and its fast ways are its slow one."""

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
        f"blocks.{ours}": f"w_{theirs}"
        for ours, theirs in (("value", "y"), ("query", "q"), ("key", "k"), ("rate", "b"))
    },
}


def layer(spec: FastWeightProgram, seed: int = 0) -> Mixer:
    torch.manual_seed(seed)
    return spec.build(WIDTH, WIDTH, HEADS).double()


def inputs(batch: int = 2, time: int = 9) -> Tensor:
    return torch.randn(batch, time, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", PRESETS)
def test_four_settings_are_the_papers_layers(name: str) -> None:
    ours, theirs = layer(PRESETS[name]), MIXERS.load(name)().build(WIDTH, WIDTH, HEADS).double()
    weights = {RENAMED.get(part, part): weight for part, weight in ours.state_dict().items()}
    if name == "recurrent-delta":
        weights["recurrent_beta"] = weights["recurrent_beta"].squeeze(-1)
    theirs.load_state_dict(weights)
    torch.testing.assert_close(ours(inputs())[0], theirs(inputs())[0], atol=1e-12, rtol=1e-12)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("name", ["linear-transformer", "delta-net"])
def test_a_feedback_of_nothing_changes_nothing(name: str) -> None:
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


EVERY = [
    FastWeightProgram(update=u, feedback=f, normalisation=n, rate=r, self_reference=s, feedback_into="value,rate")  # type: ignore[arg-type]
    for (u, f, n, r), s in itertools.product(
        itertools.product(*(CHOICES | {"feedback": ("none", "raw", "tanh")}).values()), ("", "value,key")
    )
]


@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: "-".join(map(str, vars(spec).values())))
def test_every_setting_steps_as_it_runs_and_learns(spec: FastWeightProgram) -> None:
    made, x = layer(spec), inputs(2, 6)
    whole, after = made(x)
    state, stepped = made.initial_state(2), []
    for at_time in x.unbind(1):
        output, state = made.step(at_time, state)
        stepped.append(output)
    torch.testing.assert_close(torch.stack(stepped, 1), whole, atol=1e-10, rtol=1e-10)
    for left, right in zip(state, after, strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=1e-10)
    whole.square().sum().backward()
    reached = [p.grad for p in made.parameters() if p.grad is not None and p.grad.abs().sum() != 0]
    assert all(gradient.isfinite().all() for gradient in reached)
    unread = {"recurrent.rate"} if spec.rate == "fixed" else set()
    assert len(reached) >= len(list(made.parameters())) - len(unread) - 1
    defined = layer(spec)
    with prefer("reference"):
        defined(x)[0].square().sum().backward()
    for left, right in zip(made.parameters(), defined.parameters(), strict=True):
        mine, own = (torch.zeros_like(left) if p.grad is None else p.grad for p in (left, right))
        torch.testing.assert_close(mine, own, atol=1e-9, rtol=1e-5)  # some settings grow a value to 1e22 in six steps


CALM = [spec for spec in EVERY[::5] if spec.normalisation != "none" or not spec.self_reference]


@pytest.mark.parametrize("spec", CALM, ids=lambda spec: "-".join(map(str, vars(spec).values())))
def test_packed_strings_are_what_they_are_alone(spec: FastWeightProgram) -> None:
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
            for mine, own in zip(left, right, strict=True):
                torch.testing.assert_close(mine[place : place + 1], own, rtol=1e-9, atol=1e-11)


def test_a_block_that_is_not_named_stays() -> None:
    made = layer(FastWeightProgram(feedback="none", self_reference="value, key"))
    _, after = made(inputs())
    for place, part in enumerate(PARTS):
        start = made.blocks[part].expand_as(after[place])  # type: ignore[index, union-attr]
        assert torch.equal(after[place], start) == (part in ("query", "rate"))


def test_without_the_value_no_memory_reaches_the_output() -> None:
    made, x = layer(FastWeightProgram(feedback="none", self_reference="query,key,rate")), inputs()
    torch.testing.assert_close(made(x)[0][:, -1:], made(x[:, -1:])[0])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"update": "hebb"}, "delta, additive"),
        ({"feedback": "relu"}, "none, raw, tanh"),
        ({"feedback_into": "value,gate"}, "value, query, key, rate"),
        ({"self_reference": "y"}, "value, query, key, rate"),
    ],
)
def test_unknown_switches_name_the_choices(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        FastWeightProgram(**wrong)  # type: ignore[arg-type]
