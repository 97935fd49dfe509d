"""Activation patching: the state is replaced by that of another word, and the labels show what it causes.

This is an interchange intervention (Vig et al., arXiv 2004.12265; Geiger et al., arXiv 2106.02997) on the recurrent
state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fwplab.languages import Language
from fwplab.mixers import State
from fwplab.model import Model
from fwplab.probes.words import Values, Words, draw, labels, state_grows, stream

CUTS = (5, 10, 20, 30)
"""Positions after which a state is replaced."""
SUFFIX = 15
"""The number of symbols that are read afterwards."""
WORDS, PAIRS = 200, 100
"""The number of words, and the most pairs of them."""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Indices of base and donor words. A donor is read `shift` symbols further than its base."""

    base: Tensor
    donor: Tensor
    shift: Tensor


def patched(model: Model, language: Language) -> Values:
    """Replaces a part of the state by that of another word, and measures how the following labels change.

    A base word and a donor word are read up to the cut, the donor up to it or one symbol further (for attention, whose
    state grows, only up to it). From both states the model then reads the symbols that follow in the donor. PLACE is
    `all`, `layer N` or `layer N head M`.

    - `(cut, "PLACE/moved")`: base and donor are in different states of the language. Of the positions at which their
      labels differ, the share at which the patched base gives the donor's label.
    - `(cut, "PLACE/kept")`: base and donor are in the same state of the language. The share of positions at which the
      label does not change. It is below 1 if the place contains more than the state of the language.
    - `(cut, "pairs")`, `(cut, "same")`: the number of pairs of each kind. A cut without pairs has no shares.
    """
    words = draw(language, 3 + SUFFIX, 50 + SUFFIX, WORDS, 4)
    shifts = (0,) if state_grows(model) else (0, 1)
    values: Values = {}
    for cut in CUTS:
        for kind, differ in (("moved", True), ("kept", False)):
            pairs = _pairs(words, cut, shifts, differ=differ)
            values[cut, "pairs" if differ else "same"] = len(pairs.base)
            if len(pairs.base):
                shares = _exchange(model, words, pairs, cut, differ=differ)
                values |= {(cut, f"{place}/{kind}"): share for place, share in shares.items()}
    return values


def _pairs(words: Words, cut: int, shifts: Sequence[int], *, differ: bool) -> _Pairs:
    """Pairs of words whose states at the cut differ, or are equal after different prefixes."""
    generator = np.random.default_rng(cut)
    rows = np.flatnonzero(words.data.lengths >= cut + max(shifts) + SUFFIX)
    chosen: list[tuple[int, int, int]] = []
    for base, donor in generator.permutation(np.array(np.meshgrid(rows, rows)).reshape(2, -1).T).tolist():
        shift = int(generator.choice(shifts))
        same = words.states[base][cut - 1] == words.states[donor][cut + shift - 1]
        other = words.data.strings[base][:cut] != words.data.strings[donor][: cut + shift]
        if same != differ and other:
            chosen.append((base, donor, shift))
        if len(chosen) == PAIRS:
            break
    return _Pairs(*torch.tensor(chosen, dtype=torch.long).reshape(-1, 3).unbind(1))


def _exchange(model: Model, words: Words, pairs: _Pairs, cut: int, *, differ: bool) -> dict[str, float]:
    """For each place, the share of the positions of the suffix with the expected label."""
    tokens = words.tokens
    places = cut + pairs.shift[:, None] + torch.arange(SUFFIX)
    suffix = tokens[pairs.donor].gather(1, places)
    base_state, donor_state = _after(model, tokens[pairs.base, :cut]), _after(model, tokens[pairs.donor, :cut])
    if pairs.shift.any():
        further = _after(model, tokens[pairs.donor, : cut + 1])
        donor_state = [
            tuple(torch.where(_broadcast(pairs.shift, a) == 1, b, a) for a, b in zip(one, two, strict=True))
            for one, two in zip(donor_state, further, strict=True)
        ]
    as_base, as_donor = (labels(stream(model, suffix, state)) for state in (base_state, donor_state))
    apart = as_base != as_donor if differ else torch.ones_like(as_base, dtype=torch.bool)
    if not apart.any():
        return {}
    wanted = as_donor if differ else as_base
    heads = [0 if state_grows(model) else _heads(state) for state in base_state]
    states = _exchanged(base_state, donor_state, heads)
    patched_labels = {place: labels(stream(model, suffix, state)) for place, state in states.items()}
    return {place: float((each == wanted)[apart].float().mean()) for place, each in patched_labels.items()}


@torch.no_grad()
def _after(model: Model, tokens: Tensor) -> list[State]:
    return model.scan(tokens)[1]


def _broadcast(shift: Tensor, part: Tensor) -> Tensor:
    return shift.view(-1, *[1] * (part.dim() - 1))


def _exchanged(base_state: list[State], donor_state: list[State], heads: Sequence[int]) -> dict[str, list[State]]:
    """The base's states with one place replaced by that of the donor. `heads` is the number of heads of each layer."""
    found = {"all": donor_state}
    for number, (base_layer, donor_layer) in enumerate(zip(base_state, donor_state, strict=True)):
        found[f"layer {number + 1}"] = [*base_state[:number], donor_layer, *base_state[number + 1 :]]
        for head in range(heads[number]):
            state = tuple(_with_head(a, b, head) for a, b in zip(base_layer, donor_layer, strict=True))
            found[f"layer {number + 1} head {head + 1}"] = [*base_state[:number], state, *base_state[number + 1 :]]
    return found


def _heads(state: State) -> int:
    """The number of heads of a fast-weight state `[words, heads, d, ...]`; 0 for other states."""
    square = state[0].dim() == 4 and state[0].shape[2] == state[0].shape[3]
    return state[0].shape[1] if square and all(part.shape[1] == state[0].shape[1] for part in state) else 0


def _with_head(base_layer: Tensor, donor_layer: Tensor, head: int) -> Tensor:
    mixed = base_layer.clone()
    mixed[:, head] = donor_layer[:, head]
    return mixed
