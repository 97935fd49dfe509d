"""Weights set by hand that make a mixer recognise a language exactly; the folder is the register."""

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
