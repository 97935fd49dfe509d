"""The frame of the ablations: four of its settings are the paper's models, and its fast ways are its slow one."""

import itertools

import pytest
import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers import MIXERS
from fwplab.mixers.fast_weight_program import CHOICES, PARTS, PRESETS, FastWeightProgram
from fwplab.mixers.mixer import Mixer

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


@pytest.mark.parametrize("name", PRESETS)
def test_the_kernels_and_the_loop_agree_with_all_gradients(name: str) -> None:
    fast, slow = layer(PRESETS[name]), layer(PRESETS[name])
    if name in ("linear-transformer", "delta-net"):  # a feedback of nothing makes the loop run
        slow = layer(FastWeightProgram(**{**vars(PRESETS[name]), "feedback": "raw"}))
        for recurrent in slow.recurrent.values():  # type: ignore[union-attr, operator]
            torch.nn.init.zeros_(recurrent)
        slow.load_state_dict(fast.state_dict(), strict=False)
    x, y = inputs().requires_grad_(), inputs().requires_grad_()
    left = fast(x)[0]
    if name == "srwm":
        scan = slow._loop(y.unflatten(-1, (HEADS, -1)), slow.initial_state(2))  # type: ignore[operator]
        right = slow.layer_norm(y) + slow.out_linear(scan.output.flatten(-2))  # type: ignore[operator]
    elif name == "recurrent-delta":
        scan = slow._loop(slow.project(slow.layer_norm(y)), slow.initial_state(2))  # type: ignore[operator]
        right = y + slow.out_linear(scan.output.flatten(-2))  # type: ignore[operator]
    else:
        right = slow(y)[0]
    torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-12)
    cotangent = torch.randn_like(left)
    (left * cotangent).sum().backward()
    (right * cotangent).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-10, rtol=1e-10)
    others = dict(slow.named_parameters())
    for part, weight in fast.named_parameters():
        torch.testing.assert_close(weight.grad, others[part].grad, atol=1e-10, rtol=1e-10)


EVERY = [
    FastWeightProgram(update=u, feedback=f, normalisation=n, rate=r, self_reference=s, feedback_into="value,rate")  # type: ignore[arg-type]
    for (u, f, n, r), s in itertools.product(itertools.product(*CHOICES.values()), ("", "value,key"))
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
    gradients = [p.grad for p in made.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.abs().sum() > 0) for gradient in gradients) >= len(gradients) - 1


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
