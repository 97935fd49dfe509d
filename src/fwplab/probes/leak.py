"""The leak of a counter: the share of a count that each symbol takes away, and the depth up to which counts are right.

A delta step keeps `1 - beta |k|^2` of what the memory holds along its key. A count that is read off the memory is then
a leaky integrator. Here `eps` is the share that one symbol takes away.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor

from fwplab.data.dataset import encode
from fwplab.errors import UserError
from fwplab.languages import Language, load_language
from fwplab.mixers import State
from fwplab.model.model import Model
from fwplab.training.evaluate import first_errors

PAIRS = {"dyck_1": "()", "reset_dyck_1": "()", "shuffle_2": "()", "counter_2": "ab"}
"""For each language with a count: the symbol that raises it, and the one that lowers it."""
BLOCK = 25
"""The leak is measured over this many rising and as many falling symbols, the lengths of training."""
DEPTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 1_536)
"""The depths at which the labels are compared, in increasing order."""


@torch.no_grad()
def count_leak(model: Model, language: Language) -> float:
    """The share `eps` of its memory of an early symbol that the counting head loses with each symbol.

    Two strings are read, `v = o^n c^n` and `o v`, with `n = BLOCK`. In a head, let `D_0` be the difference that the
    first `o` makes to the memory, and `D` what is left of it after `v`: `1 - eps = (<D, D_0> / <D_0, D_0>)^(1 / 2n)`.
    The head that counts is the one with the largest `|D|` times the norm of its part of the output map.

    Returns a share of at most 1, which means that nothing is left; it is negative if the difference grows.
    Raises `UserError` for a language without a pair in `PAIRS`, or a mixer without a memory matrix for each head.
    """
    opening, closing = list(pair(language))
    exact = copy.deepcopy(model).double()
    block = opening * BLOCK + closing * BLOCK
    start = exact.initial_state(1)
    first = _matrices(start, _read(exact, opening, language))
    left = _matrices(_read(exact, block, language), _read(exact, opening + block, language))
    loudness = left.flatten(2).norm(dim=-1) * _output_norms(exact, left.shape[1])
    best = int(loudness.argmax())
    before, after = (each.flatten(0, 1)[best] for each in (first, left))
    kept = float((before * after).sum() / before.square().sum())
    return 1 - math.pow(max(kept, 0.0), 1 / len(block))


def held_depth(model: Model, language: Language) -> int:
    """The largest n of `DEPTHS` such that all labels of `o^n c^n` are right, for it and all smaller ones; else 0."""
    opening, closing = list(pair(language))
    held = 0
    for depth in DEPTHS:
        data = encode(language, [opening * depth + closing * depth])
        if first_errors(model, data) != [None]:
            break
        held = depth
    return held


def predicted_depth(leak: float) -> float:
    """The depth `|2 eps|^(-1/2)` at which a leak `eps` has changed a count by half a symbol; infinite without a leak.

    After n rising and n falling symbols the count is off by about `eps n^2`.
    """
    return math.pow(2 * abs(leak), -0.5) if leak else math.inf


def pair(language: Language) -> str:
    """The rising and the falling symbol of a language in `PAIRS`. Raises `UserError` for another language."""
    name = load_language(language.name).name
    if name not in PAIRS:
        raise UserError(f"no count is known for {name}; choose from: {', '.join(PAIRS)}")
    return PAIRS[name]


def _read(model: Model, word: str, language: Language) -> list[State]:
    return model.scan(torch.from_numpy(encode(language, [word]).tokens))[1]


def _matrices(before: list[State], after: list[State]) -> Tensor:
    """The change of each head's first matrix, `[layers, heads, rows, columns]`."""
    changes = [new[0] - old[0] for old, new in zip(before, after, strict=True)]
    if any(change.dim() != 4 for change in changes):
        raise UserError("the leak of a count needs a memory matrix for each head: choose a mixer such as delta-net")
    return torch.cat(changes)


def _output_norms(model: Model, heads: int) -> Tensor:
    """The norm of each head's columns of the output map, `[layers, heads]`."""
    layers: list[Any] = list(model.mixers)
    return torch.stack([layer.out_linear.weight.unflatten(1, (heads, -1)).norm(dim=(0, 2)) for layer in layers])
