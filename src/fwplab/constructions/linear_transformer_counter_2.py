"""The linear Transformer counts a's and b's."""

from dataclasses import dataclass

from fwplab.constructions._counting import BlockCounts


@dataclass(frozen=True)
class LinearTransformerCounter2(BlockCounts):
    """a^n b^n by one counter that b's see.

    The argument is that of `LinearTransformerCounts` and `BlockCounts`.
    """

    name: str = "counter_2"
