"""Linear Transformers that count symbols."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SHUT, Layout
from fwplab.languages import Language, language
from fwplab.languages._counting import Brackets, EqualBlocks
from fwplab.mixers import MixerSpec
from fwplab.mixers.linear_transformer import LinearTransformer
from fwplab.model import Model, ModelSpec


class Counter(NamedTuple):
    """How often symbol `up` was read, less how often `down` was; only the symbols in `read` see it."""

    up: int
    down: int
    read: frozenset[int]


@dataclass(frozen=True)
class LinearTransformerCounts(Construction):
    """One layer of the linear Transformer, two heads a counter, no feed-forward.

    Of every head one number is in use, the first of W; the value is the constant 1, so that `W_t = W_{t-1} + k_t`. The
    key of a counter's first head is `elu(gate) + 1`, exactly 1 when its symbol `up` is read and exactly 0 otherwise;
    that of the second head is the same for `down`. W is a count of symbols, and OutLinear takes the difference: the
    layer knows the Parikh image of the prefix and any difference in it. Queries are gates too: the current symbol
    chooses which counters are seen. A linear readout then compares the counters with 1/2.

    A number with p bits of mantissa (24 in float32, 53 in float64) counts exactly to `2^p`, where adding 1 no longer
    changes it. A difference is first wrong when one count stands still at `2^p` and should not, and the other reaches
    it: after `2^p + 1` symbols up and `2^p` down, in any order. The shortest word that is mislabelled has
    `2^(p+1) + 1` symbols.
    """

    @property
    @abstractmethod
    def task(self) -> Language: ...

    @property
    @abstractmethod
    def counters(self) -> tuple[Counter, ...]:
        """What is counted."""

    @abstractmethod
    def scores(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Weights `[class, width]` and biases `[class]` of the readout; counter i lies in slot i."""

    @property
    def mixer(self) -> MixerSpec:
        return LinearTransformer()

    @property
    def shape(self) -> ModelSpec:
        heads = 2 * len(self.counters)
        needed = 2 * len(self.task.symbols) + 1 + len(self.counters)
        width = heads * -(-needed // heads)
        return ModelSpec(hidden=width, layers=1, heads=heads, feed_forward_factor=1)

    def breaks_at(self, dtype: torch.dtype) -> float:
        return 4 / torch.finfo(dtype).eps + 1

    def hardest(self, length: int) -> str:
        ups, downs = (self.task.symbols[symbol] for symbol in self.counters[0][:2])
        return ups * (length - length // 2) + downs * (length // 2)

    def random_word(self, length: int, generator: np.random.Generator) -> str:
        return self.task.sample(self.task.lengths(length - len(self.task.symbols), length)[-1:], generator)[0]

    def set_weights(self, model: Model) -> None:
        layout = Layout(len(self.task.symbols), self.shape.hidden)
        layout.embed(model)
        mixer: Any = model.mixers[0]
        d = mixer.head_width
        rows = mixer.slow_net.weight.view(mixer.heads, 3, d, -1)
        rows[:, :2, 1:] = layout.row(constant=-SHUT)
        rows[:, 2, 0] = layout.row(constant=1)
        for index, counter in enumerate(self.counters):
            for head, symbol, sign in ((2 * index, counter.up, 1), (2 * index + 1, counter.down, -1)):
                rows[head, 0, 0] = layout.gate(counter.read)
                rows[head, 1, 0] = layout.gate(frozenset((symbol,)))
                mixer.out_linear.weight[layout.slot(index), head * d] = sign
        weight, bias = self.scores(layout)
        model.readout.weight.copy_(weight)
        model.readout.bias.copy_(bias)


@dataclass(frozen=True)
class BracketCounts(LinearTransformerCounts):
    """The depth of each pair of brackets.

    With the depths `c_i` and the bits `l_i` of a class, its logit is `sum_i (2 l_i - 1) (c_i - 1/2)`: the largest is
    that whose every bit says whether `c_i > 1/2`.
    """

    @property
    @abstractmethod
    def task(self) -> Brackets: ...

    @property
    def counters(self) -> tuple[Counter, ...]:
        everything = frozenset(range(len(self.task.symbols)))
        return tuple(Counter(2 * pair, 2 * pair + 1, everything) for pair in range(self.task.pairs))

    def scores(self, layout: Layout) -> tuple[Tensor, Tensor]:
        signs = torch.tensor([[2.0 * int(bit) - 1 for bit in name] for name in self.task.classes])
        weight = torch.zeros(len(signs), layout.width)
        weight[:, layout.slot(0) : layout.slot(self.task.pairs)] = signs
        return weight, -signs.sum(1) / 2


@dataclass(frozen=True)
class BlockCounts(LinearTransformerCounts):
    """a^n b^n c^n ...: counter i is the number of symbols i less that of symbols i + 1, seen by symbol i + 1 alone.

    Symbol i wants class i, or class i + 1 when its block is full. The logit of class i is the number of the block
    before less this one's, less 1/2, when symbol i is read (for the first symbol: 1), that of class i + 1 is then 0,
    and all others are -1.
    """

    name: str

    @property
    def task(self) -> EqualBlocks:
        spoken = language(self.name)
        assert isinstance(spoken, EqualBlocks)
        return spoken

    @property
    def counters(self) -> tuple[Counter, ...]:
        return tuple(Counter(i, i + 1, frozenset((i + 1,))) for i in range(len(self.task.symbols) - 1))

    def scores(self, layout: Layout) -> tuple[Tensor, Tensor]:
        weight, bias = torch.zeros(len(self.task.classes), layout.width), -torch.ones(len(self.task.classes))
        for symbol in range(layout.symbols):
            weight[symbol] += layout.row({symbol: 2.0 if symbol == 0 else 0.5})
            weight[symbol + 1] += layout.row({symbol: 1.0})
            if symbol:
                weight[symbol, layout.slot(symbol - 1)] = 1
        return weight, bias
