"""The LSTM."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwplab.mixers._start import check_time_scales, memory_lengths
from fwplab.mixers.mixer import Mixer, MixerSpec, State, saturated_share


@dataclass(frozen=True)
class LSTM(MixerSpec):
    """A stack of `nn.LSTM` layers without residual connections and feed-forward parts (arXiv 2310.16076).

    - `forget_bias`: added to the initial bias of the forget gate.
    - `time_scales`: 0 for none; else the longest memory T, in symbols. Unit u of U has the memory length
      `m = T^(u / (U - 1))`. `log m` is added to the bias of its forget gate and subtracted from that of its input gate.
      This is chrono initialisation (arXiv 1804.11188) with log-spaced lengths.
    """

    feed_forward = "none"
    residual = False
    forget_bias: float = 0.0
    time_scales: float = 0.0

    def __post_init__(self) -> None:
        check_time_scales(self.time_scales)

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """Builds one layer of `nn.LSTM`. `heads` is not used."""
        return _Layer(self, input_width, width)


class _Layer(Mixer):
    state_names = ("hidden", "cell")

    def __init__(self, spec: LSTM, input_width: int, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(input_width, width, batch_first=True)
        lengths = memory_lengths(spec.time_scales, width)
        with torch.no_grad():
            bias: Tensor = self.cell.get_parameter("bias_ih_l0")
            input_gate, forget_gate, _, _ = bias.chunk(4)
            input_gate -= lengths.log()
            forget_gate += lengths.log() + spec.forget_bias

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden, cell = state or self.initial_state(x.shape[0])
        if x.shape[1] == 0:  # the batch has only empty strings, which PyTorch's LSTM refuses
            return x.new_zeros(x.shape[0], 0, self.cell.hidden_size), (hidden, cell)
        output, (hidden, cell) = self.cell(x, (hidden.unsqueeze(0), cell.unsqueeze(0)))
        return output, (hidden.squeeze(0), cell.squeeze(0))

    def saturation(self, state: State) -> Tensor:
        return saturated_share(state[1].tanh())

    def initial_state(self, batch: int) -> State:
        zeros = next(self.cell.parameters()).new_zeros(batch, self.cell.hidden_size)
        return zeros, zeros
