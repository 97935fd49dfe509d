"""On how many held-out words do a model, a machine and the language say the same?"""

from dataclasses import dataclass

from fwplab.extraction.mealy import UNDEFINED, Integers


@dataclass(frozen=True)
class Agreement:
    """Held-out words of one length. `asked`: the share of their positions at which the language asks for a label.

    Counted are words that agree at every such position: `model`, where the model's label is the language's;
    `with_model`, where the machine's is the model's; `with_language`, where the machine's is the language's.
    Of a language without end little is asked of long words: nothing more once a word has gone deeper than the depth.
    """

    length: int
    words: int
    asked: float
    model: int
    with_model: int
    with_language: int


def compare(length: int, model: Integers, machine: Integers, language: Integers, positions: int) -> Agreement:
    """Compares the labels `[words, time]` of the three; `UNDEFINED` in `language` asks for nothing.

    `positions` counts the symbols of all words, without padding.
    """
    asked = language != UNDEFINED
    share = float(asked.sum() / max(1, positions))
    pairs = ((model, language), (machine, model), (machine, language))
    counts = (int(((one == other) | ~asked).all(1).sum()) for one, other in pairs)
    return Agreement(length, len(language), share, *counts)
