"""The linear Transformer counts the symbols a and b."""

from dataclasses import dataclass

from fwplab.constructions._counting import BlockCounts


@dataclass(frozen=True)
class LinearTransformerCounter2(BlockCounts):
    """a^n b^n by one counter, which is visible when a b is read.

    `LinearTransformerCounts` and `BlockCounts` explain why the weights are right.
    """

    name: str = "counter_2"
