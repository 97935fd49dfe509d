"""Every construction labels its language correctly, up to the length at which it predicts rounding errors."""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fwplab.automata import Moore
from fwplab.constructions import CONSTRUCTIONS
from fwplab.constructions._counting import BracketCounts
from fwplab.constructions._machine import machine_of
from fwplab.constructions.construction import labels
from fwplab.constructions.linear_transformer_dyck_1 import LinearTransformerDyck1
from fwplab.constructions.recurrent_delta_automaton import RecurrentDeltaAutomaton
from fwplab.constructions.signed_delta_net_parity import SignedDeltaNetParity
from fwplab.errors import UserError
from fwplab.languages import load_language
from fwplab.languages.shuffle_2 import Shuffle2
from fwplab.model.model import Model
from fwplab.training.evaluate import first_errors
from fwplab.verification.check import dataset, exhaustive, measure_break, mislabelled

NAMES = CONSTRUCTIONS.own_names()
PRECISIONS = (torch.float32, torch.float64)
COUNTING = [name for name in NAMES if math.isfinite(CONSTRUCTIONS.load(name)().breaks_at(torch.float32))]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_all_words_up_to_length_12_are_labelled_correctly(name: str, dtype: torch.dtype) -> None:
    construction = CONSTRUCTIONS.load(name)()
    found = exhaustive(construction, dtype, 12)
    assert found.wrong is None
    assert found.words >= found.situations > 0


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_all_words_of_a_length_are_labelled_correctly_in_one_batch(name: str, dtype: torch.dtype) -> None:
    """Checks each word by itself (without merging equal states), with the kernels for whole sequences."""
    construction = CONSTRUCTIONS.load(name)()
    task = construction.task
    length = {1: 12, 2: 12, 3: 8, 4: 6}[len(task.symbols)]
    words = ["".join(word) for word in itertools.product(task.symbols, repeat=length)]
    words = [word for word in words if None not in labels(task, word)]
    assert words
    assert not any(error is not None for error in first_errors(construction.build(dtype), dataset(task, words)))


@pytest.mark.parametrize("length", [1_000, 10_000])
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_long_words_are_labelled_correctly(name: str, dtype: torch.dtype, length: int) -> None:
    construction = CONSTRUCTIONS.load(name)()
    assert length < construction.breaks_at(dtype)
    assert not mislabelled(construction, dtype, length, seed=length)


@pytest.mark.parametrize("name", COUNTING)
def test_a_counting_construction_breaks_in_bfloat16_at_the_predicted_length(name: str) -> None:
    construction = CONSTRUCTIONS.load(name)()
    predicted = construction.breaks_at(torch.bfloat16)
    found = measure_break(construction, torch.bfloat16, 2_000)
    assert found is not None
    assert predicted <= found <= 2 * predicted
    if name.startswith("linear-transformer"):
        assert found == predicted


@pytest.mark.parametrize("dtype", [*PRECISIONS, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in COUNTING])
def test_a_construction_that_never_breaks_has_finitely_many_states(name: str, dtype: torch.dtype) -> None:
    found = exhaustive(CONSTRUCTIONS.load(name)(), dtype, 40)
    assert found.closed
    assert found.wrong is None


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, 24), (torch.float64, 53)])
def test_a_count_stops_growing_at_the_predicted_number(dtype: torch.dtype, bits: int) -> None:
    """Starts in the state after 2^p - 1 opening brackets. Of two more brackets, the second is not counted."""
    model = LinearTransformerDyck1().build(dtype)
    tokens = torch.zeros(1, 2, dtype=torch.long)
    _, ((after_two,),) = model.scan(tokens)
    opened = torch.where(after_two == 2, 2.0**bits - 1, after_two)
    with torch.no_grad():
        _, ((one_more,),) = model.scan(tokens[:, :1], [(opened,)])
        _, ((two_more,),) = model.scan(tokens, [(opened,)])
    assert float(one_more.max()) == 2.0**bits
    assert torch.equal(one_more, two_more)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("seed", range(8))
def test_any_automaton_can_be_constructed(seed: int, dtype: torch.dtype) -> None:
    generator = np.random.default_rng(seed)
    symbols = "abcd"[: int(generator.integers(2, 5))]
    machine = Moore.random(int(generator.integers(2, 21)), symbols, generator)
    if seed % 3 == 0:  # with a state without output
        machine = replace(machine, outputs=(None, *machine.outputs[1:], "x")[: len(machine.outputs)])
    construction = RecurrentDeltaAutomaton(machine)
    found = exhaustive(construction, dtype, 25)
    assert found.wrong is None
    assert found.closed
    assert not mislabelled(construction, dtype, 1_000, seed)


@pytest.mark.parametrize("name", ["aa_star", "abab_star", "parity"])
def test_regular_languages_are_constructed_as_automata(name: str) -> None:
    task = load_language(name)
    machine = machine_of(task)
    generator = np.random.default_rng(0)
    for word in task.sample([4, 20, 40], generator):
        assert machine.run(word) == task.labels(word)
    assert exhaustive(RecurrentDeltaAutomaton(machine), torch.float32, 12).wrong is None


def test_a_language_that_is_not_regular_has_no_automaton() -> None:
    with pytest.raises(UserError, match="choose a regular language"):
        machine_of(load_language("dyck_1"))


class _Shuffle3(Shuffle2):
    symbols = ("(", ")", "[", "]", "{", "}")
    classes = tuple("".join(bits) for bits in itertools.product("01", repeat=3))
    pairs = 3
    start = Shuffle2.start._replace(open=(0, 0, 0))


@dataclass(frozen=True)
class _Shuffle3Counts(BracketCounts):
    @property
    def task(self) -> _Shuffle3:
        return _Shuffle3()


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_shuffle_of_three_bracket_pairs_is_labelled_correctly(dtype: torch.dtype) -> None:
    found = exhaustive(_Shuffle3Counts(), dtype, 8)
    assert found.wrong is None
    assert found.words == sum(6**length for length in range(1, 9))


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("logit", [0.3, 1.0, 1.8])
def test_with_a_rate_far_from_2_the_sign_is_lost_at_the_predicted_length(logit: float, dtype: torch.dtype) -> None:
    construction = SignedDeltaNetParity(logit)
    found = measure_break(construction, dtype, 1_000)
    assert found is not None
    assert construction.breaks_at(dtype) / 1.25 <= found <= construction.breaks_at(dtype) * 1.25


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("logit", [2.0, 3.0, 8.0])
def test_with_a_rate_near_2_rounding_preserves_the_sign(logit: float, dtype: torch.dtype) -> None:
    construction = SignedDeltaNetParity(logit)
    assert construction.breaks_at(dtype) == math.inf
    assert not mislabelled(construction, dtype, 10_000)


def test_the_check_counts_all_words_and_finds_a_shortest_wrong_one() -> None:
    construction = LinearTransformerDyck1()
    assert exhaustive(construction, torch.float32, 6).words == sum(2**length for length in range(1, 7))

    class WrongThreshold(LinearTransformerDyck1):
        """Gives the label 1 from a depth of 3 on."""

        def set_weights(self, model: Model) -> None:
            super().set_weights(model)
            model.readout.bias.mul_(5)

    assert exhaustive(WrongThreshold(), torch.float32, 6).wrong == "("
    assert mislabelled(WrongThreshold(), torch.float32, 10)
    assert measure_break(WrongThreshold(), torch.float32, 10) == 1


def test_unset_weights_are_zero_and_have_the_requested_dtype() -> None:
    for name in NAMES:
        model = CONSTRUCTIONS.load(name)().build(torch.float64).requires_grad_(False)
        assert isinstance(model, Model)
        assert all(weight.dtype == torch.float64 for weight in model.parameters())
        assert float(model.embedding.weight[-1].abs().max()) == 0  # padding
