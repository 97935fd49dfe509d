"""The linear Transformer counts the depth of brackets."""

from dataclasses import dataclass

from fwplab.constructions._counting import BracketCounts
from fwplab.languages._counting import Brackets
from fwplab.languages.dyck_1 import Dyck1


@dataclass(frozen=True)
class LinearTransformerDyck1(BracketCounts):
    """Dyck-1 by one counter: opening less closing brackets.

    The argument is that of `LinearTransformerCounts` and `BracketCounts`.
    """

    @property
    def task(self) -> Brackets:
        return Dyck1()
