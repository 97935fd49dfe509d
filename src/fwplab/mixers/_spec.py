"""The spec of a mixer. Importing it does not import PyTorch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fwplab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from fwplab.mixers.mixer import Mixer


@dataclass(frozen=True)
class MixerSpec(ABC):
    """The switches of a mixer, by name. The defaults give the paper's layer.

    - `feed_forward`: where the feed-forward part has its LayerNorm ("pre", "post"), or "none" for no such part.
    - `final_norm`: whether there is another LayerNorm before the readout.
    - `residual`: whether the mixer adds its input to its output. The embedding must then be as wide as the layers.
    - `constant_memory`: whether the size of the state is independent of the length of the sequence.
    - `packs`: whether the layer accepts concatenated sequences of unequal lengths, which avoids work on padding.
    - `folds_into`: the names of the mixers into which a trained one-layer model can be folded (`fwplab.model.folding`).
    - `same_start`: whether all layers start with the weights of the first.
    """

    feed_forward: ClassVar[Literal["pre", "post", "none"]] = "pre"
    final_norm: ClassVar[bool] = False
    residual: ClassVar[bool] = True
    constant_memory: ClassVar[bool] = True
    packs: ClassVar[bool] = False
    folds_into: ClassVar[tuple[str, ...]] = ()
    same_start: bool = False

    @abstractmethod
    def build(self, input_width: int, width: int, heads: int) -> "Mixer":
        """Builds a new layer. Its weights are drawn from the global random generator of PyTorch."""

    def depth(self, layers: int) -> int:
        """The number of layers of the model when `layers` are requested."""
        return layers

    def start_embedding(self, weight: "Tensor", heads: int) -> None:
        """Changes the starting embedding in place, `weight` `[symbols, width]`. Most mixers leave it as it is drawn."""
        return


def head_width(width: int, heads: int) -> int:
    """The width of one head. Raises `UserError` if `heads` does not divide `width`."""
    if heads < 1 or width % heads:
        divisors = ", ".join(str(n) for n in range(1, width + 1) if width % n == 0)
        raise UserError(f"{heads} heads do not divide a width of {width}; choose from: {divisors}")
    return width // heads
