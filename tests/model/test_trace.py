"""The trace of a model on a string agrees with what the model computes."""

import pytest
import torch
from torch import Tensor

from fwplab.data.dataset import encode
from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.mixers import MIXERS, Attention, Mixer, State, Writes
from fwplab.mixers.fast_weight_program import FastWeightProgram
from fwplab.mixers.mixer import MixerSpec
from fwplab.model.model import Model, ModelSpec, build
from fwplab.model.trace import WINDOW, Layer, Reading, read, spectrum
from fwplab.training.evaluate import first_errors

WORD = "0110111010011"
PROGRAMS = {
    "additive": FastWeightProgram(update="additive", normalisation="l2", rate="double"),
    "raw feedback, fixed rate": FastWeightProgram(feedback="raw", rate="fixed"),
    "rewrites two blocks": FastWeightProgram(feedback="none", self_reference="value,key"),
    "rewrites with feedback": FastWeightProgram(feedback="tanh", self_reference="value,query,rate"),
    "rewrites, additive": FastWeightProgram(feedback="none", update="additive", self_reference="value,query,key,rate"),
}
SPECS: dict[str, MixerSpec] = {name: MIXERS.load(name)() for name in MIXERS.own_names()} | PROGRAMS


def build_model(spec: MixerSpec) -> Model:
    """A model in float64 whose weights are random, none at a special initial value such as zero."""
    model = build(spec, ModelSpec(hidden=12, layers=2, heads=3), 2, 2, seed=0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
    return model


def trace_of(spec: MixerSpec) -> Reading:
    return read(build_model(spec), load_language("parity"), WORD)


@pytest.mark.parametrize("name", SPECS)
def test_traced_updates_and_attention_equal_those_of_the_layer(name: str) -> None:
    for layer in trace_of(SPECS[name]).layers():
        view = layer.view
        if isinstance(view, Writes):
            weight = torch.cat(layer.states[: len(view.blocks)], dim=-1)
            torch.testing.assert_close(view.wrote - view.erased, weight.diff(dim=0), atol=1e-12, rtol=1e-12)
            assert view.wrote.abs().max() > 1e-3
            assert [width for _, width in view.blocks] == [part.shape[-1] for part in layer.states[: len(view.blocks)]]
        elif isinstance(view, Attention):
            query, key, value = layer.mixer.project(layer.inputs.unsqueeze(0))
            attended, _ = layer.mixer.attend(query, key, value, None)
            torch.testing.assert_close(torch.einsum("hts,shd->thd", view.rows, value[0]).flatten(1), attended[0])
        else:
            assert type(layer.mixer).view is Mixer.view


def has_one_update_without_feedback(spec: MixerSpec) -> bool:
    layer = trace_of(spec).layers()[0]
    return isinstance(layer.view, Writes) and len(layer.view.updates) == len(layer.states) == 1


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if has_one_update_without_feedback(spec)])
def test_without_feedback_the_spectrum_equals_that_of_the_update(name: str) -> None:
    layer = trace_of(SPECS[name]).layers()[0]
    view, width = layer.view, 4
    assert isinstance(view, Writes)
    expected = torch.cat([view.kept[5, 1].expand(width), torch.ones(width * (width - 1), dtype=torch.float64)])
    found = spectrum(layer, 5, 1)
    torch.testing.assert_close(found.real.sort().values, expected.sort().values, atol=1e-9, rtol=0)
    assert found.imag.abs().max() < 1e-9


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.constant_memory])
def test_the_spectrum_equals_the_eigenvalues_of_the_step_s_jacobian(name: str) -> None:
    layer, head, position = trace_of(SPECS[name]).layers()[-1], 2, 6
    before = tuple(part[position : position + 1] for part in layer.states)
    chosen = [part[:, head : head + 1] if layer.view else part for part in before]
    sizes = [part.numel() for part in chosen]

    def moved(flat: Tensor) -> Tensor:
        state = []
        for part, piece, one in zip(before, flat.split(sizes), chosen, strict=True):
            whole = torch.cat([part[:, :head], piece.view_as(one), part[:, head + 1 :]], 1) if layer.view else piece
            state.append(whole.view_as(part))
        _, after = layer.mixer.step(layer.inputs[position : position + 1], tuple(state))
        return torch.cat([(part[:, head] if layer.view else part).flatten() for part in after])

    jacobian = torch.autograd.functional.jacobian(moved, torch.cat([part.flatten() for part in chosen]))
    expected = torch.linalg.eigvals(jacobian)
    found = spectrum(layer, position, head)
    torch.testing.assert_close(found.abs(), expected.abs().sort(descending=True).values, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(found.sum(), expected.sum(), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", SPECS)
def test_traced_labels_equal_those_of_the_model_and_the_language(name: str) -> None:
    model, parity = build_model(SPECS[name]), load_language("parity")
    found = read(model, parity, WORD)
    tokens = torch.tensor([[int(symbol) for symbol in WORD]])
    assert found.predicted == [parity.classes[index] for index in model(tokens)[0].argmax(-1).tolist()]
    assert found.expected == parity.labels(WORD)
    assert [found.first_error] == first_errors(model, encode(parity, [WORD]))
    assert found.probabilities.sum(-1) == pytest.approx(torch.ones(len(WORD)))
    assert all(len(layer.norms) == len(WORD) + 1 for layer in found.layers())
    assert not any(mixer._forward_pre_hooks for mixer in model.mixers)


@pytest.mark.parametrize(("string", "message"), [("01x", "'x' at position 3"), ("", "empty string")])
def test_a_bad_string_is_a_user_error(string: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(build_model(SPECS["lstm"]), load_language("parity"), string)


def test_a_state_without_a_spectrum_is_a_user_error() -> None:
    infinite = build_model(SPECS["recurrent-delta"])
    with torch.no_grad():
        infinite.mixers[0].slow_net.weight.mul_(float("inf"))
    with pytest.raises(UserError, match="the state is not finite"):
        spectrum(read(infinite, load_language("parity"), WORD).layers()[0], 3, 0)
    attention = trace_of(SPECS["transformer"]).layers()[0]
    with pytest.raises(UserError, match="grows with the string"):
        spectrum(attention, 0, 0)
    lstm = trace_of(SPECS["lstm"]).layers()[0]
    large = Layer(lstm.mixer, 0, lstm.inputs, tuple(part.repeat(1, 99) for part in lstm.states), lstm.norms, None)
    with pytest.raises(UserError, match="up to 600"):
        spectrum(large, 0, 0)


@pytest.mark.parametrize("name", SPECS)
def test_windows_agree_with_one_pass_over_the_whole_string(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 5 positions have the same labels, states, norms, updates, attention and eigenvalues."""
    model, parity = build_model(SPECS[name]), load_language("parity")
    whole = read(model, parity, WORD)
    layers = whole.layers()
    monkeypatch.setattr("fwplab.model.trace.WINDOW", 5)
    parts = read(model, parity, WORD)
    assert (parts.predicted, parts.first_error) == (whole.predicted, whole.first_error)
    for of_whole, layer in zip(layers, parts.layers(7), strict=True):
        assert layer.start == 5
        torch.testing.assert_close(layer.inputs, of_whole.inputs[5:10])
        torch.testing.assert_close(layer.norms, of_whole.norms[5:11])
        for state, of_all in zip(layer.states, of_whole.states, strict=True):
            torch.testing.assert_close(state, of_all[5:11])
        if isinstance(layer.view, Attention):
            assert isinstance(of_whole.view, Attention)
            torch.testing.assert_close(layer.view.rows, of_whole.view.rows[:, 5:10, :10])
        else:
            # Either of a conjugate pair may come first. A rounding error moves a double eigenvalue by its square root.
            torch.testing.assert_close(spectrum(layer, 7, 1).abs(), spectrum(of_whole, 7, 1).abs())
        if isinstance(layer.view, Writes):
            assert isinstance(of_whole.view, Writes)
            torch.testing.assert_close(layer.view.wrote, of_whole.view.wrote[5:10])
            torch.testing.assert_close(layer.view.key, of_whole.view.key[5:10])


def test_the_trace_stores_one_state_a_window() -> None:
    """The trace of attention stores its keys and values once, not once a window."""
    for name in ("transformer", "srwm"):
        found = read(build_model(SPECS[name]), load_language("parity"), "01" * (5 * WINDOW))
        kept = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in parts(found.before)}
        assert len(found.before) == 10
        whole = 2 * 12 * 8 * 10 * WINDOW  # a key and a value of 12 numbers of 8 bytes at every position
        one = 10 * found.model.state_size() * 8 if SPECS[name].constant_memory else whole
        assert sum(kept.values()) <= 2 * one + 4_096


def parts(before: list[list[State]]) -> list[Tensor]:
    return [part for states in before for layer in states for part in layer]


def test_a_position_outside_the_window_is_refused() -> None:
    found = read(build_model(SPECS["delta-net"]), load_language("parity"), "01" * WINDOW)
    with pytest.raises(UserError, match=r"position 3 is not in this window, 200 to 399: take layers\(3\)"):
        spectrum(found.layers(399)[0], 3, 0)
