"""Options for the initial weights of a layer with a write rate."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fwplab.errors import UserError
from fwplab.mixers.mixer import MixerSpec


@dataclass(frozen=True)
class Start(MixerSpec):
    """The initial weights of a layer with a write rate. The defaults are the published initialisation.

    A layer computes its write rates from its input x as `beta = sigmoid(w x + b)`, with one rate for each head.

    - `rate_bias`: the initial value of the bias b. The bias is trained.
    - `rate_scale`: a factor of the initial weights w, which produce the logits of the rates.
    - `value_scale`: a factor of the initial weights that produce the values.
    - `output_scale`: a factor of the initial weights of the linear map that follows the memory. A large factor makes
      the effect of weak writes larger, as a large `value_scale` does, but the values keep a size that training can
      change quickly.
    - `time_scales`: 0 for no effect; else the longest memory length T, in symbols. Head h of H starts with the memory
      length `m = T^(h / (H - 1))`: `log m` is subtracted from the bias of its rate, so that `beta = 1 / (1 + m)` for
      `w x = 0` and `rate_bias = 0`. The initial weights of its values are multiplied by `(1 + m) / 2`, so that
      `beta v` is as large in all heads as it is with the published initialisation.

    Memory lengths that are spread over a range are the idea of chrono initialisation for the LSTM's gates (Tallec and
    Ollivier 2018, arXiv 1804.11188, uniform lengths) and of the step sizes of Mamba (arXiv 2312.00752, log-uniform).
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
        """Whether the logits of the rates have a bias. The published layer has none."""
        return self.rate_bias != 0 or self.time_scales != 0

    def biases(self, heads: int) -> Tensor:
        """The initial biases of the logits of the rates, `[heads]`."""
        return self.rate_bias - memory_lengths(self.time_scales, heads).log()

    def value_factors(self, heads: int) -> Tensor:
        """The factors of the initial weights of the values of each head, `[heads]`."""
        return self.value_scale * (1 + memory_lengths(self.time_scales, heads)) / 2


def memory_lengths(longest: float, count: int) -> Tensor:
    """Memory lengths from 1 to `longest` with equal distances of their logarithms, `[count]`.

    longest: the last length; 0 gives a length of 1 for all.
    count: the number of lengths. If it is 1, the only length is `longest`.
    """
    if not longest:
        return torch.ones(count)
    start = 0.0 if count > 1 else math.log(longest)
    return torch.linspace(start, math.log(longest), count).exp()


def check_time_scales(longest: float) -> None:
    """Raises a `UserError` for a memory shorter than one symbol."""
    if longest and not 1 <= longest < math.inf:
        raise UserError(f"time_scales must be 0 (none) or a memory length of 1 symbol or more, not {longest}")
