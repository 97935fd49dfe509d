"""The studies. Each file in this folder is one study; listing them does not import PyTorch."""

from typing import TYPE_CHECKING

from fwplab.catalogue import Catalogue
from fwplab.lazy import lazy_names

if TYPE_CHECKING:
    from fwplab.studies.study import Study
else:
    __getattr__, __dir__ = lazy_names(__name__, {"Study": "fwplab.studies.study"})

STUDIES: "Catalogue[Study]" = Catalogue(
    "study",
    "fwplab.studies",
    "fwplab.studies.study:Study",
)

__all__ = ["STUDIES", "Study", "load_study"]


def load_study(name: str) -> "Study":
    """The study with this name. Raises `UserError`, which lists the names, if there is none.

    >>> load_study("irie2023").title
    'Practical computational power of linear Transformers, again'
    """
    return STUDIES.load(name)()
