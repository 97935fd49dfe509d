"""The shape of a model. Importing it does not import PyTorch."""

from dataclasses import dataclass
from typing import Literal

from fwplab.errors import UserError, shown

MOST_NUMBERS = 300_000_000
"""The most numbers of a model's matrices. What a file or a command asks for is refused before memory is allocated."""
Initialisation = Literal["own", "xavier", "orthogonal"]
INITIALISATIONS: tuple[Initialisation, ...] = ("own", "xavier", "orthogonal")


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a model, and the initialisation of its mixers."""

    hidden: int = 32
    """The width of the layers."""
    layers: int = 2
    """The number of layers."""
    heads: int = 4
    """The number of heads of each mixer; mixers without heads ignore it."""
    feed_forward_factor: int = 2
    """The inner width of the feed-forward blocks as a multiple of `hidden`."""
    embedding: int | None = None
    """The width of the embedding; None for `hidden`. Another width needs a mixer without a residual (LSTM, e-LSTM)."""
    initialisation: Initialisation = "own"
    """The initialisation of the mixers' matrices: their own, "xavier" or "orthogonal"."""

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "feed_forward_factor"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be a positive whole number, not {shown(getattr(self, name))}")
        if self.embedding is not None and self.embedding < 1:
            raise UserError(f"embedding must be a positive whole number, not {shown(self.embedding)}")
        widest = max(self.hidden, self.embedding or 1)
        if self.layers * widest**2 * max(4, 2 * self.feed_forward_factor) > MOST_NUMBERS:
            raise UserError(
                f"{shown(self.layers)} layers of width {shown(widest)} with a feed-forward factor of "
                f"{shown(self.feed_forward_factor)} are too large; choose a model of at most {MOST_NUMBERS:,} numbers"
            )
        if self.initialisation not in INITIALISATIONS:
            choices = ", ".join(INITIALISATIONS)
            raise UserError(f"unknown initialisation {self.initialisation!r}; choose from: {choices}")
