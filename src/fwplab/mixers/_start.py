"""How a layer starts: the bias and the scale of its first rates, the scale of its first values and feedback."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers.mixer import MixerSpec


@dataclass(frozen=True)
class Start(MixerSpec):
    """Switches for the starting weights of a layer with a write rate; their defaults are the published start.

    - `rate_bias`: added to the logit of every rate, `beta = sigmoid(w x + rate_bias)`. It is where training starts.
    - `rate_scale`: factor of the starting weights that make the rates' logits from the input.
    - `value_scale`: factor of the starting weights that make the values.
    - `output_scale`: factor of the starting weights of the linear map behind the memory. It makes weak writes heard as
      `value_scale` does, and leaves the values at a size that training can still change.
    - `time_scales`: 0 for none; else the longest memory T, in symbols. Head h of H starts with the memory length
      `m = T^(h / (H - 1))`: `log m` is taken from its rates' logits, so that `beta = 1 / (1 + m)` for a logit of 0, and
      its values are multiplied by `(1 + m) / 2`, so that all heads write as much as at the published start.

    Lengths that are spread over a range are the idea of chrono initialisation for the LSTM's gates (Tallec and Ollivier
    2018, arXiv 1804.11188, uniform lengths) and of the step sizes of Mamba (arXiv 2312.00752, log-uniform).
    """

    rate_bias: float = 0.0
    rate_scale: float = 1.0
    value_scale: float = 1.0
    output_scale: float = 1.0
    time_scales: float = 0.0

    def __post_init__(self) -> None:
        check_time_scales(self.time_scales)

    @property
    def has_bias(self) -> bool:
        """Whether the rates' logits start with a bias, which the published layer has not."""
        return self.rate_bias != 0 or self.time_scales != 0

    def biases(self, heads: int) -> Tensor:
        """The starting biases of the rates' logits, `[heads]`."""
        return self.rate_bias - memory_lengths(self.time_scales, heads).log()

    def value_factors(self, heads: int) -> Tensor:
        """What the starting weights of a head's values are multiplied by, `[heads]`."""
        return self.value_scale * (1 + memory_lengths(self.time_scales, heads)) / 2


def memory_lengths(longest: float, count: int) -> Tensor:
    """`count` lengths from 1 to `longest`, equally far apart in their logarithm; ones where `longest` is 0.

    A single length is the longest.
    """
    if not longest:
        return torch.ones(count)
    start = 0.0 if count > 1 else math.log(longest)
    return torch.linspace(start, math.log(longest), count).exp()


def check_time_scales(longest: float) -> None:
    """Raises a `UserError` for a memory shorter than one symbol."""
    if longest and not 1 <= longest < math.inf:
        raise UserError(f"time_scales must be 0 (none) or a memory length of 1 symbol or more, not {longest}")
