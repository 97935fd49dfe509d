"""Probes find what models with hand-set weights contain, and find nothing in untrained models."""

import json
from pathlib import Path

import pytest
import torch

from fwplab.cli import run as command
from fwplab.cli.checkpoints import find_checkpoint
from fwplab.constructions.linear_transformer_counter_2 import LinearTransformerCounter2
from fwplab.constructions.recurrent_delta_parity import RecurrentDeltaParity
from fwplab.constructions.signed_delta_net_parity import SignedDeltaNetParity
from fwplab.data.dataset import IGNORE
from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.mixers import MIXERS
from fwplab.mixers.fast_weight_program import FastWeightProgram
from fwplab.mixers.srwm import SRWM
from fwplab.model.model import Model, ModelSpec, build
from fwplab.ops.variation import PARTS
from fwplab.probes import Values, frozen, linear_probes, patched, step_eigenvalues
from fwplab.probes.freezing import AFTER, _held
from fwplab.probes.linear import WINDOWS, Target, _random_values, _Ridge
from fwplab.probes.patching import CUTS
from fwplab.probes.words import draw, flatten_states, labels, part_names, state_grows, stream, unflatten_states

PARITY = load_language("parity")
ENDS = [end for _, end in WINDOWS]


def untrained(name: str, symbols: int = 3, classes: int = 2) -> Model:
    return build(MIXERS.load(name)(), ModelSpec(hidden=16, layers=2, heads=2), symbols, classes, seed=1)


def at(values: Values, name: str) -> dict[int, float]:
    return {length: value for (length, each), value in values.items() if each == name}


def test_a_ridge_probe_finds_an_existing_linear_map() -> None:
    x = torch.randn(400, 7, generator=torch.Generator().manual_seed(0)).double()
    count = (3 * x[:, :1] - x[:, 3:4] + 5).round()
    counted = _Ridge(x[:300], (3 * x[:300, :1] - x[:300, 3:4] + 5), 1e-6)
    assert (counted.read(x[300:], Target("", True, int)) == count[300:, 0]).all()
    classes = x[:, :3].argmax(1)
    named = _Ridge(x[:300], torch.nn.functional.one_hot(classes[:300], 3).double(), 1e-2)
    assert (named.read(x[300:], Target("", False, int)) == classes[300:]).float().mean() > 0.9


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e2])
def test_a_ridge_probe_is_the_minimum_of_its_loss(strength: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(50, width, generator=generator).double() for width in (6, 2))
    probe = _Ridge(x, y, strength)
    standard = (x - probe.mean) / probe.scale
    weight = probe.weight.clone().requires_grad_()
    loss = (standard @ weight + probe.middle - y).square().sum() + strength * len(x) / 6 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() < 1e-9


def test_a_probe_reads_parity_from_a_model_that_computes_it() -> None:
    """W of the construction contains the exclusive or of symbol and parity, which no linear map can read."""
    values = linear_probes(RecurrentDeltaParity().build(), untrained("recurrent-delta"), PARITY)
    for end in ENDS:
        assert at(values, "state/layer 1/output/right")[end] == 1
        assert at(values, "state/layer 1/output/control")[end] < 0.75
        assert at(values, "state/layer 1/state/right")[end] < 0.65
    assert at(values, "state/layer 1/output/untrained")[100] < 0.65
    assert 0.4 < at(values, "state/guess")[100] < 0.65
    assert at(values, "seen")[100] == 0
    signed = linear_probes(SignedDeltaNetParity().build(), untrained("delta-net"), PARITY)
    assert at(signed, "state/layer 1/state/right")[100] == 1


def test_a_probe_reads_the_count_from_a_model_that_counts_also_on_longer_words() -> None:
    values = linear_probes(LinearTransformerCounter2().build(), untrained("lstm", 3, 3), load_language("counter_2"))
    assert at(values, "owed/layer 1/state/right")[100] == 1
    assert at(values, "owed/layer 1/state/control")[100] < 0.5
    assert at(values, "owed/layer 2/output/untrained")[100] < 0.5
    assert at(values, "seen")[50] > 0.9  # the language has one word a length, so that all short words were seen


def test_control_labels_depend_on_the_local_context_and_have_the_true_frequencies() -> None:
    words = draw(PARITY, 30, 50, 40, 9)
    target, pool = Target("x", True, int), [0] * 3 + [7]
    found = _random_values(words, pool, target)
    by_type: dict[tuple[str, int], set[int]] = {}
    for word, row in zip(words.data.strings, found.tolist(), strict=True):
        for end in range(2, len(word)):
            by_type.setdefault((word[end - 2 : end + 1], end % 4), set()).add(row[end])
    assert len(by_type) == 32
    assert all(len(labelled) == 1 for labelled in by_type.values())
    assert 0.5 < sum(min(labelled) == 0 for labelled in by_type.values()) / 32 < 0.95


def model_with_unused_layer() -> Model:
    """A model of two layers: the construction for parity, and a layer whose state is never used."""
    known = RecurrentDeltaParity()
    shape = ModelSpec(
        **{**known.shape.__dict__, "layers": 2}  # the same widths and one more layer
    )
    model = build(known.mixer, shape, 3, 2, seed=0)
    one = known.build()
    with torch.no_grad():
        model.embedding.load_state_dict(one.embedding.state_dict())
        model.readout.load_state_dict(one.readout.state_dict())
        model.mixers[0].load_state_dict(one.mixers[0].state_dict())
        model.feed_forwards[0].load_state_dict(one.feed_forwards[0].state_dict())
        model.feed_forwards[1].load_state_dict(one.feed_forwards[0].state_dict())
        model.mixers[1].out_linear.weight.zero_()
    return model


def test_patching_changes_the_labels_only_at_the_layer_that_causes_them() -> None:
    values = patched(model_with_unused_layer(), PARITY)
    for cut in CUTS:
        assert values[cut, "pairs"] == values[cut, "same"] == 100
        assert values[cut, "all/moved"] == values[cut, "layer 1/moved"] == 1
        assert values[cut, "layer 2/moved"] == 0
        assert values[cut, "layer 1/kept"] == values[cut, "layer 2/kept"] == 1


def test_patching_a_state_that_grows_uses_donors_of_the_same_length() -> None:
    values = patched(find_checkpoint("parity/transformer", "paper").model(), PARITY)
    assert set(at(values, "all/moved").values()) == {1.0}
    assert not any("head" in name for _, name in values)
    one_word_a_length = patched(untrained("transformer", 2), load_language("aa_star"))
    assert set(at(one_word_a_length, "pairs").values()) == {0}
    assert set(at(patched(untrained("lstm", 2), load_language("aa_star")), "pairs").values()) == {100}


def test_the_signed_rule_has_a_negative_eigenvalue_on_ones_only() -> None:
    values = step_eigenvalues(SignedDeltaNetParity().build(), PARITY)
    assert values[0, "1/negative"] == 1
    assert values[0, "1/lowest"] == pytest.approx(-1, abs=1e-3)
    assert values[0, "0/negative"] == 0
    for symbol in "01":
        assert sum(at(values, f"{symbol}/share").values()) == pytest.approx(1)


def test_holding_a_block_equals_removing_its_self_reference() -> None:
    """Setting one block's rate to 0 gives the ablation of SRWM in which only the other blocks rewrite themselves."""
    whole = build(SRWM(), ModelSpec(hidden=16, layers=2, heads=2), 3, 2, seed=3)
    tokens = draw(PARITY, 20, 20, 8, 0).tokens
    assert part_names(whole) == ("W_y", "W_q", "W_k", "w_b")
    for held, part in enumerate(PARTS):
        others = ",".join(each for each in PARTS if each != part)
        spec = FastWeightProgram(feedback="none", self_reference=others)
        ablated = build(spec, ModelSpec(hidden=16, layers=2, heads=2), 3, 2, seed=0)
        with torch.no_grad():
            for copy, original in zip(ablated.mixers, whole.mixers, strict=True):
                for name, block in zip(PARTS, original.blocks, strict=True):
                    copy.blocks[name].copy_(block)
                copy.layer_norm.load_state_dict(original.layer_norm.state_dict())
                copy.out_linear.load_state_dict(original.out_linear.state_dict())
            for part_of in ("embedding", "feed_forwards", "readout"):
                getattr(ablated, part_of).load_state_dict(getattr(whole, part_of).state_dict())
        found = torch.stack([logits for logits, _ in stream(whole, tokens, intervene=_held(0, {held}))], 1)
        torch.testing.assert_close(found, ablated.scan(tokens)[0], atol=1e-5, rtol=1e-4)


def test_after_freezing_every_symbol_is_read_from_the_frozen_state() -> None:
    model = RecurrentDeltaParity().build()
    values = frozen(model, PARITY)
    words = draw(PARITY, 31, 50, 100, 3)
    truth = torch.from_numpy(words.data.labels)
    for after in AFTER:
        labelled = (truth != IGNORE) & (torch.arange(truth.shape[1]) >= after)
        state = model.scan(words.tokens[:, :after])[1] if after else model.initial_state(len(truth))
        predicted = torch.stack([model.step(token, state)[0].argmax(-1) for token in words.tokens.unbind(1)], 1)
        assert values[after, "frozen"] == pytest.approx(float((predicted == truth)[labelled].float().mean()))
        assert values[after, "free"] == 1
    assert values[0, "held W"] == 1  # the feedback alone suffices, as in a plain recurrent network
    assert values[0, "held fed back"] < 0.9
    assert part_names(model) == ("W", "fed back")
    assert part_names(untrained("lstm")) == ("hidden", "cell")


def test_freezing_a_state_that_grows_is_an_error() -> None:
    assert state_grows(untrained("transformer"))
    with pytest.raises(UserError, match="grows with the word"):
        frozen(untrained("transformer"), PARITY)


def test_streaming_gives_the_labels_of_a_scan() -> None:
    model, tokens = untrained("srwm"), draw(PARITY, 20, 30, 5, 0).tokens
    assert (labels(stream(model, tokens)) == model.scan(tokens)[0].argmax(-1)).all()


@pytest.mark.parametrize("mixer", ["srwm", "recurrent-delta", "lstm"])
def test_unflattening_a_flat_state_gives_the_state(mixer: str) -> None:
    model = untrained(mixer)
    tokens = torch.tensor([[0, 1, 1], [1, 0, 1]])
    *_, (_, state) = stream(model, tokens)
    again = unflatten_states(model, flatten_states(state).double())
    for layer, same in zip(state, again, strict=True):
        for one, other in zip(layer, same, strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_language_without_words_of_a_length_is_refused() -> None:
    with pytest.raises(UserError, match="has no word of 31 to 31 symbols"):
        draw(load_language("counter_2"), 31, 31, 5, 0)


def test_the_command_probes_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "frozen.svg"
    assert command(["probe", "parity/srwm", "freezing", "--json", "--out", str(figure)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["selection"], facts["seed"], facts["refused"]) == ("paper", 0, {})
    found = {(each["name"], each["length"]): each["median"] for each in facts["probes"]["freezing"]["values"]}
    assert found["free", 0] > 0.99
    assert found["frozen", 0] < 0.7
    assert figure.read_text("utf-8").startswith("<?xml")
    assert command(["probe", "parity/transformer", "freezing"]) == 2
    assert "grows with the word" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parity/srwm", "dreaming"], "choose from: freezing, patching, probing, spectrum, all"),
        (["parity/srwm", "--out", "a.svg"], "a file holds one figure"),
        (["parity/srwm", "freezing", "--out", "a.gif"], "choose a suffix from"),
        (["nothing/here"], "no checkpoint 'nothing/here'"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["probe", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_model_with_logits_that_are_not_finite_is_an_error() -> None:
    broken = untrained("lstm")
    with torch.no_grad():
        broken.readout.weight.fill_(float("nan"))
    for probe in (frozen, patched, lambda model, task: linear_probes(model, model, task)):
        with pytest.raises(UserError, match="logits are not finite"):
            probe(broken, PARITY)


def test_a_key_value_cache_is_not_split_into_heads() -> None:
    """With as many heads as numbers in a head, the cache has the shape of fast weights, but must not be split."""
    model = build(MIXERS.load("softmax-attention")(), ModelSpec(hidden=16, layers=1, heads=4), 3, 2, seed=1)
    assert not any("head" in name for _, name in patched(model, PARITY))
