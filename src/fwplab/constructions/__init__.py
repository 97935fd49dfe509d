"""Models whose weights are set by hand to recognise a language exactly. Each file here is one catalogue entry."""

from typing import TYPE_CHECKING

from fwplab.catalogue import Catalogue
from fwplab.lazy import lazy_names

if TYPE_CHECKING:
    from fwplab.constructions.construction import Construction, Task
else:
    __getattr__, __dir__ = lazy_names(
        __name__, dict.fromkeys(("Construction", "Task"), "fwplab.constructions.construction")
    )

CONSTRUCTIONS: "Catalogue[Construction]" = Catalogue(
    "construction",
    "fwplab.constructions",
    "fwplab.constructions.construction:Construction",
    separator="-",
)

__all__ = ["CONSTRUCTIONS", "Construction", "Task"]
