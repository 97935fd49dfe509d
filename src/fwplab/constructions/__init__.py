"""Models whose weights are set by hand to recognise a language exactly. Each file here is one catalogue entry."""

from fwplab.catalogue import Catalogue
from fwplab.constructions.construction import Construction, Task

CONSTRUCTIONS: Catalogue[Construction] = Catalogue(
    "construction",
    "fwplab.constructions",
    Construction,
    separator="-",
    besides=("construction", "layout", "check", "bounds"),
)

__all__ = ["CONSTRUCTIONS", "Construction", "Task"]
