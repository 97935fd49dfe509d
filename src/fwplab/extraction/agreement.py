"""Compares the labels of a model, an extracted machine and the language on held-out words."""

from dataclasses import dataclass

from fwplab.extraction.mealy import UNDEFINED, Integers

LENGTHS = (20, 50, 100, 200, 500)
"""The default lengths of held-out words."""


@dataclass(frozen=True)
class Agreement:
    """Agreement on held-out words of one length.

    - `length`: the length of the words.
    - `words`: their number.
    - `asked`: the share of their positions at which the language has a label. For a language that is cut at a depth it
      is small for long words: positions after a word has exceeded the depth have no label.
    - `model`: the number of words whose labels from the model and the language agree at all labelled positions.
    - `with_model`: the same for the machine and the model.
    - `with_language`: the same for the machine and the language.
    """

    length: int
    words: int
    asked: float
    model: int
    with_model: int
    with_language: int


def compare(length: int, model: Integers, machine: Integers, language: Integers, positions: int) -> Agreement:
    """Compares the labels of a model, a machine and the language.

    - `length`: the length of the words.
    - `model`, `machine`, `language`: labels `[words, time]`. Positions with `UNDEFINED` in `language` are ignored.
    - `positions`: the number of symbols of all words, without padding.
    """
    labelled = language != UNDEFINED
    share = float(labelled.sum() / max(1, positions))
    pairs = ((model, language), (machine, model), (machine, language))
    counts = (int(((one == other) | ~labelled).all(1).sum()) for one, other in pairs)
    return Agreement(length, len(language), share, *counts)
