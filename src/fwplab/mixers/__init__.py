"""The sequence mixers, one file a mixer; the folder is the register."""

from fwplab.catalogue import Catalogue
from fwplab.mixers.mixer import Mixer, MixerSpec, State

MIXERS: Catalogue[MixerSpec] = Catalogue(
    "mixer",
    "fwplab.mixers",
    MixerSpec,  # type: ignore[type-abstract]  # mypy wants a concrete class for type[Base]
    separator="-",
    besides=("mixer", "fast_weight", "start", "view"),
)

__all__ = ["MIXERS", "Mixer", "MixerSpec", "State"]
