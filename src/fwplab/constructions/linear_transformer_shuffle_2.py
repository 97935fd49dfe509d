"""The linear Transformer counts the depths of two pairs of brackets at once."""

from dataclasses import dataclass

from fwplab.constructions._counting import BracketCounts
from fwplab.languages._counting import Brackets
from fwplab.languages.shuffle_2 import Shuffle2


@dataclass(frozen=True)
class LinearTransformerShuffle2(BracketCounts):
    """Shuffle-2 by two counters, one per pair of brackets; k pairs need k counters.

    `LinearTransformerCounts` and `BracketCounts` explain why the weights are right.
    """

    @property
    def task(self) -> Brackets:
        return Shuffle2()
