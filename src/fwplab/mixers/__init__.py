"""The sequence mixers, one per file. Each file of this folder is an entry. Listing them does not import PyTorch."""

from typing import TYPE_CHECKING

from fwplab.catalogue import Catalogue
from fwplab.lazy import lazy_names

if TYPE_CHECKING:
    from fwplab.mixers._spec import MixerSpec
    from fwplab.mixers._view import Attention, View, Writes
    from fwplab.mixers.mixer import Mixer, State
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {"MixerSpec": "fwplab.mixers._spec"}
        | dict.fromkeys(("Mixer", "State"), "fwplab.mixers.mixer")
        | dict.fromkeys(("Attention", "View", "Writes"), "fwplab.mixers._view"),
    )

MIXERS: "Catalogue[MixerSpec]" = Catalogue(
    "mixer",
    "fwplab.mixers",
    "fwplab.mixers.mixer:MixerSpec",
    separator="-",
)

__all__ = ["MIXERS", "Attention", "Mixer", "MixerSpec", "State", "View", "Writes"]
