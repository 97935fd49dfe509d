"""The linear Transformer counts the symbols a, b and c."""

from dataclasses import dataclass

from fwplab.constructions._counting import BlockCounts


@dataclass(frozen=True)
class LinearTransformerCounter3(BlockCounts):
    """a^n b^n c^n by two counters: one is visible when a b is read, the other when a c is read.

    `LinearTransformerCounts` and `BlockCounts` explain why the weights are right.
    """

    name: str = "counter_3"
