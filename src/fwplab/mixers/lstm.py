"""The LSTM."""

from dataclasses import dataclass

from torch import Tensor, nn

from fwplab.mixers.mixer import Mixer, MixerSpec, State, flat


@dataclass(frozen=True)
class LSTM(MixerSpec):
    """`nn.LSTM`, one layer after the other, no residual and no feed-forward part (arXiv 2310.16076)."""

    feed_forward = "none"
    residual = False

    def build(self, input_width: int, width: int, heads: int) -> Mixer:
        """One layer of `nn.LSTM`; `heads` has no meaning here."""
        return _Layer(input_width, width)


class _Layer(Mixer):
    state_names = ("hidden", "cell")

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(input_width, width, batch_first=True)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden, cell = state or self.initial_state(x.shape[0])
        output, (hidden, cell) = self.cell(x, (hidden.unsqueeze(0), cell.unsqueeze(0)))
        return output, (hidden.squeeze(0), cell.squeeze(0))

    def saturation(self, state: State) -> Tensor:
        return flat(state[1].tanh())

    def initial_state(self, batch: int) -> State:
        zeros = next(self.cell.parameters()).new_zeros(batch, self.cell.hidden_size)
        return zeros, zeros
