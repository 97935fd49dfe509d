"""Freezing: the accuracy of a model whose state, or a part of it, is no longer updated."""

from collections.abc import Collection

import torch
from torch import Tensor

from fwplab.data.dataset import IGNORE
from fwplab.errors import UserError
from fwplab.languages import Language
from fwplab.mixers import State
from fwplab.model.model import Model
from fwplab.probes.words import Intervene, Values, draw, labels, part_names, state_grows, stream

AFTER = (0, 1, 2, 5, 10, 20, 30)
"""The numbers of steps after which the states of all layers are frozen."""
LONGEST, WORDS = 50, 100
"""The longest words, and the number of words."""


def frozen(model: Model, language: Language) -> Values:
    """The share of correct labels on words of 31-50 symbols, with and without updates of the state.

    - `(t, "frozen")`: positions after t, when the states of all layers stay as they were after t steps. An SRWM then
      still uses its weights, but no longer changes them.
    - `(t, "free")`: the same positions, without intervention.
    - `(0, "held NAME")`: all positions, when one part of every layer's state keeps its initial value. For a block of
      SRWM this is a rate of 0, for `fed back` of Recurrent Delta it removes the recurrence.
    - `(0, "guess")`: the accuracy of the most frequent label.

    The state is restored after each position. A layer that writes before it reads (all but SRWM) still reads what it
    writes for the current symbol.

    Raises `UserError` for a state that grows with the word, because it has no fixed size to keep.
    """
    words = draw(language, 31, LONGEST, WORDS, 3)
    truth = torch.from_numpy(words.data.labels)
    names = part_names(model)
    if state_grows(model):
        raise UserError("this state grows with the word: it cannot be frozen; choose a mixer of constant memory")
    free = labels(stream(model, words.tokens))
    labelled = truth != IGNORE
    most = torch.mode(truth[labelled]).values
    values: Values = {(0, "guess"): float((truth[labelled] == most).float().mean())}
    for after in AFTER:
        predicted = labels(stream(model, words.tokens, intervene=_held(after)))
        later = labelled & (torch.arange(truth.shape[1]) >= after)
        values[after, "frozen"] = _share(predicted, truth, later)
        values[after, "free"] = _share(free, truth, later)
    for name in dict.fromkeys(names) if len(names) > 1 else ():
        chosen = {place for place, each in enumerate(names) if each == name}
        predicted = labels(stream(model, words.tokens, intervene=_held(0, chosen)))
        values[0, f"held {name}"] = _share(predicted, truth, labelled)
    return values


def _held(after: int, parts: Collection[int] | None = None) -> Intervene:
    """Keeps the states of all layers, or only `parts` of them, as they are after `after` steps."""

    def keep(position: int, before: list[State], now: list[State]) -> list[State]:
        if position < after:
            return now
        return [
            tuple(old if parts is None or n in parts else new for n, (old, new) in enumerate(zip(*pair, strict=True)))
            for pair in zip(before, now, strict=True)
        ]

    return keep


def _share(predicted: Tensor, truth: Tensor, labelled: Tensor) -> float:
    return float((predicted == truth)[labelled].float().mean())
