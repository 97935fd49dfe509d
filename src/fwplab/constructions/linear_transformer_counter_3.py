"""The linear Transformer counts a's, b's and c's."""

from dataclasses import dataclass

from fwplab.constructions._counting import BlockCounts


@dataclass(frozen=True)
class LinearTransformerCounter3(BlockCounts):
    """a^n b^n c^n by two counters, one that b's see and one that c's see.

    The argument is that of `LinearTransformerCounts` and `BlockCounts`.
    """

    name: str = "counter_3"
