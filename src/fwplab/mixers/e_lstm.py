"""The e-LSTM, an LSTM with element-wise recurrence (also "quasi-LSTM")."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fwplab.mixers._start import check_time_scales, memory_lengths
from fwplab.mixers.mixer import Mixer, MixerSpec, State, saturated_share
from fwplab.ops import elementwise


@dataclass(frozen=True)
class ELSTM(MixerSpec):
    """`c = f c + (1 - f) z` with element-wise feedback, gate `sigmoid(Lin([x, c]))`, output `c * gate`.

    All cell parameters are drawn from `N(0, 0.1^2)` (arXiv 2310.16076).

    - `one_layer`: build a single layer, whatever number of layers is requested. The published model does this.
    - `forget_bias`: added to the initial bias of the gate `f`.
    - `time_scales`: 0 for none; else the longest memory T, in symbols. Unit u of U has the memory length
      `m = T^(u / (U - 1))`, and `log m` is added to its bias of `f`, as in chrono initialisation of the LSTM
      (arXiv 1804.11188).
    """

    feed_forward = "none"
    residual = False
    packs = True
    one_layer: bool = True
    forget_bias: float = 0.0
    time_scales: float = 0.0

    def __post_init__(self) -> None:
        check_time_scales(self.time_scales)

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """Builds the cell and its output gate. `heads` is not used."""
        return _Layer(self, input_width, width)

    def depth(self, layers: int) -> int:
        """One, or `layers` if `one_layer` is false."""
        return 1 if self.one_layer else layers


class _Layer(Mixer):
    state_names = ("cell",)

    def __init__(self, spec: ELSTM, input_width: int, width: int) -> None:
        super().__init__()
        self.width = width
        lengths = memory_lengths(spec.time_scales, width)
        self.weight_z = nn.Parameter(0.1 * torch.randn(width, input_width))
        self.weight_f = nn.Parameter(0.1 * torch.randn(width, input_width))
        self.recurrent_z = nn.Parameter(0.1 * torch.randn(1, width))
        self.recurrent_f = nn.Parameter(0.1 * torch.randn(1, width))
        self.bias_z = nn.Parameter(0.1 * torch.randn(1, width))
        self.bias_f = nn.Parameter(0.1 * torch.randn(1, width) + spec.forget_bias + lengths.log())
        self.output_gate = nn.Linear(input_width + width, width)

    def forward(self, x: Tensor, state: State | None = None, cu_seqlens: Tensor | None = None) -> tuple[Tensor, State]:
        z = (x @ self.weight_z.T + self.bias_z).unsqueeze(-2)
        f = (x @ self.weight_f.T + self.bias_f).unsqueeze(-2)
        start = state[0] if state else None
        scan = elementwise(z, f, self.recurrent_z, self.recurrent_f, initial_state=start, cu_seqlens=cu_seqlens)
        cell = scan.output.squeeze(-2)
        gate = torch.sigmoid(self.output_gate(torch.cat([x, cell], dim=-1)))
        return cell * gate, (scan.state,)

    def saturation(self, state: State) -> Tensor:
        return saturated_share(state[0])  # a mean of values that went through tanh

    def initial_state(self, batch: int) -> State:
        return (self.bias_z.new_zeros(batch, 1, self.width),)
