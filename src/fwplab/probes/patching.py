"""Causal patching: a state from another word is put in, and the labels tell what it caused.

Interchange intervention (Vig et al., arXiv 2004.12265; Geiger et al., arXiv 2106.02997), on what is carried along time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fwplab.languages import Language
from fwplab.mixers import State
from fwplab.model import Model
from fwplab.probes.words import Values, Words, draw, grows, labels, stream

CUTS = (5, 10, 20, 30)
"""Positions after which a state is exchanged."""
SUFFIX = 15
"""Symbols that are read afterwards."""
WORDS, PAIRS = 200, 100


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Rows of bases and donors; a donor is read `shift` symbols further than its base."""

    base: Tensor
    donor: Tensor
    shift: Tensor


def patched(model: Model, language: Language) -> Values:
    """How far a part of the state, taken from another word, makes the model go on as after that word.

    A base and a donor whose states in the language differ are read to the cut, the donor to it or one symbol further
    (of attention, whose state grows, to the cut); then both read what followed the donor. `(cut, "PLACE/moved")`: of
    the positions at which the model says something else after base and donor, the share that the patched base says as
    the donor does. Places: `all`, `layer N`, `layer N head M`. `(cut, "PLACE/kept")`: with a donor in the same state of
    the language, the share of positions at which nothing changes; what a place carries besides that state shows here.
    `(cut, "pairs")`, `(cut, "same")`: how many pairs there were; a cut without them has no shares.
    """
    words = draw(language, 3 + SUFFIX, 50 + SUFFIX, WORDS, 4)
    shifts = (0,) if grows(model) else (0, 1)
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
    """Words whose states at their cuts differ, or are the same after different prefixes."""
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
    """By place: the share of the positions of the suffix that are as wanted."""
    tokens = words.tokens
    places = cut + pairs.shift[:, None] + torch.arange(SUFFIX)
    suffix = tokens[pairs.donor].gather(1, places)
    here, there = _after(model, tokens[pairs.base, :cut]), _after(model, tokens[pairs.donor, :cut])
    if pairs.shift.any():
        further = _after(model, tokens[pairs.donor, : cut + 1])
        there = [
            tuple(torch.where(_beside(pairs.shift, a) == 1, b, a) for a, b in zip(one, two, strict=True))
            for one, two in zip(there, further, strict=True)
        ]
    as_base, as_donor = (labels(stream(model, suffix, state)) for state in (here, there))
    apart = as_base != as_donor if differ else torch.ones_like(as_base, dtype=torch.bool)
    if not apart.any():
        return {}
    wanted = as_donor if differ else as_base
    heads = [0 if grows(model) else _heads(state) for state in here]
    said = {place: labels(stream(model, suffix, state)) for place, state in _exchanged(here, there, heads).items()}
    return {place: float((each == wanted)[apart].float().mean()) for place, each in said.items()}


@torch.no_grad()
def _after(model: Model, tokens: Tensor) -> list[State]:
    return model.scan(tokens)[1]


def _beside(shift: Tensor, part: Tensor) -> Tensor:
    return shift.view(-1, *[1] * (part.dim() - 1))


def _exchanged(here: list[State], there: list[State], heads: Sequence[int]) -> dict[str, list[State]]:
    """The base's states with one place taken from the donor; `heads` of each layer."""
    found = {"all": there}
    for number, (mine, yours) in enumerate(zip(here, there, strict=True)):
        found[f"layer {number + 1}"] = [*here[:number], yours, *here[number + 1 :]]
        for head in range(heads[number]):
            state = tuple(_with_head(a, b, head) for a, b in zip(mine, yours, strict=True))
            found[f"layer {number + 1} head {head + 1}"] = [*here[:number], state, *here[number + 1 :]]
    return found


def _heads(state: State) -> int:
    """How many heads a state of fast weights `[words, heads, d, ...]` has; 0 for other states."""
    square = state[0].dim() == 4 and state[0].shape[2] == state[0].shape[3]
    return state[0].shape[1] if square and all(part.shape[1] == state[0].shape[1] for part in state) else 0


def _with_head(mine: Tensor, yours: Tensor, head: int) -> Tensor:
    mixed = mine.clone()
    mixed[:, head] = yours[:, head]
    return mixed
