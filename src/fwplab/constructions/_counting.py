"""Linear Transformers that count symbols."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import CLOSED, Layout
from fwplab.languages import Language, load_language
from fwplab.languages._counting import Brackets, EqualBlocks
from fwplab.mixers import MixerSpec
from fwplab.mixers.linear_transformer import LinearTransformer
from fwplab.model import Model, ModelSpec


class Counter(NamedTuple):
    """The number of symbols `up` read so far minus the number of symbols `down`.

    The result is visible only at positions whose symbol is in `visible_to`. Symbols are given by their index.
    """

    up: int
    down: int
    visible_to: frozenset[int]


@dataclass(frozen=True)
class LinearTransformerCounts(Construction):
    """Counts symbols with one layer of the linear Transformer, two heads per counter and no feed-forward part.

    Each head uses a single number w, the first entry of its matrix W. The value is the constant 1, so that
    `w_t = w_{t-1} + k_t`. In the first head of a counter the key is `elu(gate) + 1`, which is exactly 1 when the symbol
    `up` is read and exactly 0 otherwise. The second head does the same for `down`. Each w is therefore the count of one
    symbol, and OutLinear subtracts the two counts. In this way the layer can compute the Parikh image of the prefix and
    any difference of its entries. The queries are gates too: the current symbol selects which counters are visible. A
    linear readout then compares the counters with 1/2.

    A float with p bits of mantissa (24 in float32, 53 in float64) counts exactly up to `2^p`. From there on, adding 1
    no longer changes it. The difference of two counts is first wrong after `2^p + 1` symbols `up` and `2^p` symbols
    `down`, in any order: both counts are then `2^p`. The shortest mislabelled word has `2^(p+1) + 1` symbols.
    """

    @property
    @abstractmethod
    def task(self) -> Language: ...

    @property
    @abstractmethod
    def counters(self) -> tuple[Counter, ...]:
        """The counters. Counter i uses the heads 2i and 2i + 1."""

    @abstractmethod
    def scores(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Returns the weights `[class, width]` and the biases `[class]` of the readout; counter i is in slot i."""

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

    def hardest_word(self, length: int) -> str:
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
        rows[:, :2, 1:] = layout.row(constant=-CLOSED)
        rows[:, 2, 0] = layout.row(constant=1)
        for index, counter in enumerate(self.counters):
            for head, symbol, sign in ((2 * index, counter.up, 1), (2 * index + 1, counter.down, -1)):
                rows[head, 0, 0] = layout.gate(counter.visible_to)
                rows[head, 1, 0] = layout.gate(frozenset((symbol,)))
                mixer.out_linear.weight[layout.slot(index), head * d] = sign
        weight, bias = self.scores(layout)
        model.readout.weight.copy_(weight)
        model.readout.bias.copy_(bias)


@dataclass(frozen=True)
class BracketCounts(LinearTransformerCounts):
    """Tracks the depth of each pair of brackets with one counter per pair.

    The label has one bit per pair, which is 1 when `c_i > 1/2`, with `c_i` the depth of pair i. The class with the bits
    `l_i` has the logit `sum_i (2 l_i - 1) (c_i - 1/2)`. It is largest for the class whose bits are all right.
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
    """Recognises a^n b^n c^n ...: counter i is the number of symbols i minus the number of symbols i + 1.

    Counter i is visible only when symbol i + 1 is read. The correct class after symbol i is class i, or class i + 1
    when the block of symbol i is complete. When symbol i is read, the logit of class i is the length of the block
    before minus the length of this block, minus 1/2 (for the first symbol it is 1). The logit of class i + 1 is 0, and
    those of all other classes are -1.
    """

    name: str

    @property
    def task(self) -> EqualBlocks:
        task = load_language(self.name)
        assert isinstance(task, EqualBlocks)
        return task

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
