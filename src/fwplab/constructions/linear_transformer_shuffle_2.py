"""The linear Transformer counts the depths of two pairs of brackets at once."""

from dataclasses import dataclass

from fwplab.constructions._counting import BracketCounts
from fwplab.languages._counting import Brackets
from fwplab.languages.shuffle_2 import Shuffle2


@dataclass(frozen=True)
class LinearTransformerShuffle2(BracketCounts):
    """Shuffle-2 by two counters; k pairs take k of them.

    The argument is that of `LinearTransformerCounts` and `BracketCounts`.
    """

    @property
    def task(self) -> Brackets:
        return Shuffle2()
