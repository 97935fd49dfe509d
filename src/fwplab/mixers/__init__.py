"""The sequence mixers, one file a mixer; the folder is the register. Listing them does not import PyTorch."""

from typing import TYPE_CHECKING

from fwplab.catalogue import Catalogue
from fwplab.lazy import lazy_names

if TYPE_CHECKING:
    from fwplab.mixers.mixer import Mixer, MixerSpec, State
else:
    __getattr__, __dir__ = lazy_names(__name__, dict.fromkeys(("Mixer", "MixerSpec", "State"), "fwplab.mixers.mixer"))

MIXERS: "Catalogue[MixerSpec]" = Catalogue(
    "mixer",
    "fwplab.mixers",
    "fwplab.mixers.mixer:MixerSpec",
    separator="-",
    besides=("mixer", "fast_weight", "start", "view"),
)

__all__ = ["MIXERS", "Mixer", "MixerSpec", "State"]
