"""The studies, one file a question; the folder is the register."""

from fwplab.catalogue import Catalogue
from fwplab.studies.study import Study

STUDIES: Catalogue[Study] = Catalogue(
    "study",
    "fwplab.studies",
    Study,  # type: ignore[type-abstract]  # mypy wants a concrete class for type[Base]
    besides=("study", "mechanism"),
)

__all__ = ["STUDIES", "Study"]
