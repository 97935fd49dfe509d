"""Freezing: what becomes of the labels when the state stops changing, or a part of it never changes?"""

from collections.abc import Collection

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.languages import Language
from fwplab.languages.dataset import IGNORE
from fwplab.mixers import State
from fwplab.model import Model
from fwplab.probes.words import Intervene, Values, draw, grows, labels, part_names, stream

AFTER = (0, 1, 2, 5, 10, 20, 30)
"""Steps after which every layer's state is frozen."""
LONGEST, WORDS = 50, 100


def frozen(model: Model, language: Language) -> Values:
    """The share of right labels on words of 31-50 symbols, left alone and with the state held in part or in whole.

    `(t, "frozen")` counts positions after t, with the states of all layers as they were after t steps: SRWM goes on
    with the weights it has made, and makes no more. `(t, "free")`: the same positions left alone. `(0, "held NAME")`:
    one part of every layer's state keeps its initial value, the rest goes on; of SRWM's blocks that is a rate of 0, of
    Recurrent Delta's `fed back` the loss of its recurrence. What is held is held between positions: a layer that writes
    before it reads, as all but SRWM, still reads what the present symbol writes. `(0, "guess")`: the most frequent
    label everywhere.
    Raises `UserError` for a state that grows with the word, which has nothing to hold.
    """
    words = draw(language, 31, LONGEST, WORDS, 3)
    truth = torch.from_numpy(words.data.labels)
    names = part_names(model)
    if grows(model):
        raise UserError("this state grows with the word: it cannot be held; choose a mixer of constant memory")
    free = labels(stream(model, words.tokens))
    asked = truth != IGNORE
    most = torch.mode(truth[asked]).values
    values: Values = {(0, "guess"): float((truth[asked] == most).float().mean())}
    for after in AFTER:
        said = labels(stream(model, words.tokens, intervene=_held(after)))
        later = asked & (torch.arange(truth.shape[1]) >= after)
        values[after, "frozen"] = _share(said, truth, later)
        values[after, "free"] = _share(free, truth, later)
    for name in dict.fromkeys(names) if len(names) > 1 else ():
        chosen = {place for place, each in enumerate(names) if each == name}
        said = labels(stream(model, words.tokens, intervene=_held(0, chosen)))
        values[0, f"held {name}"] = _share(said, truth, asked)
    return values


def _held(after: int, parts: Collection[int] | None = None) -> Intervene:
    """Keeps every layer's state as it is after so many steps, or those parts of it."""

    def keep(position: int, before: list[State], now: list[State]) -> list[State]:
        if position < after:
            return now
        return [
            tuple(old if parts is None or n in parts else new for n, (old, new) in enumerate(zip(*pair, strict=True)))
            for pair in zip(before, now, strict=True)
        ]

    return keep


def _share(said: Tensor, truth: Tensor, asked: Tensor) -> float:
    return float((said == truth)[asked].float().mean())
