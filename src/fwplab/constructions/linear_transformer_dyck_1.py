"""The linear Transformer counts the depth of brackets."""

from dataclasses import dataclass

from fwplab.constructions._counting import BracketCounts
from fwplab.languages._counting import Brackets
from fwplab.languages.dyck_1 import Dyck1


@dataclass(frozen=True)
class LinearTransformerDyck1(BracketCounts):
    """Dyck-1 by one counter: the number of opening minus the number of closing brackets.

    `LinearTransformerCounts` and `BracketCounts` explain why the weights are right.
    """

    @property
    def task(self) -> Brackets:
        return Dyck1()
