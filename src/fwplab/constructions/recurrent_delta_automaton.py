"""Recurrent Delta simulates any finite automaton."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fwplab.automata import Moore
from fwplab.constructions._machine import machine_of
from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SATURATED, Layout
from fwplab.languages import load_language
from fwplab.mixers import MixerSpec
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.model import Model, ModelSpec

DRIVE = 32.0
"""The pre-activation of a unit: `tanh(32)` is 1 in every precision."""


@dataclass(frozen=True)
class RecurrentDeltaAutomaton(Construction):
    """Any Moore machine, by one layer with one head. The default machine is that of (abab)*.

    The key and the query are always the first unit vector and the rate is always 1, because the logits are 1000 apart.
    The delta rule then stores only the last value, `o_t = v_t = v_x + tanh(o_{t-1}) R_v`, which is a recurrent network
    with tanh. It has one unit (i, s) for every state i and symbol s. The unit is on (+1) when the machine was in state
    i and then read s, and off (-1) otherwise. One more unit h* is on from the first position. Let `c_i` be the number
    of units that lead to state i, and let p_s indicate the symbol read. Over the units that lead to i, the sum of `h`
    plus `c_i - 1` is 1 when the machine is in state i, and -1 otherwise. Hence

        o_(i,s) = D [ sum of h_(j,r) that lead to i  +  (c_i - 1 - e_i) h*  +  e_i  +  2 (p_s - 1) ]

    is D for the one correct unit and -D or -3 D for all others. At the first position all h are 0. There `e_i`, which
    is 1 for the start state and -1 for the others, replaces the sum. `tanh(+-32)` is exactly +-1, so that no error is
    carried from one position to the next: the weights are right at every length and precision.

    The readout must ignore the units that are off. OutLinear writes each unit to a column of its own and minus their
    sum to another column, so that the LayerNorm of the feed-forward part sees a mean of 0 and preserves the signs. ReLU
    keeps only the unit that is on. The second linear map adds it to the slot of the output of the machine's new state.
    """

    machine: Moore = machine_of(load_language("abab_star"))

    @property
    def task(self) -> Moore:
        return self.machine

    @property
    def mixer(self) -> MixerSpec:
        return RecurrentDelta()

    @property
    def shape(self) -> ModelSpec:
        units, symbols = len(self._units()), len(self.machine.symbols)
        width = 2 * symbols + 1 + units + 1 + len(self.machine.classes)
        return ModelSpec(hidden=width, layers=1, heads=1, feed_forward_factor=1)

    def breaks_at(self, dtype: torch.dtype) -> float:
        return math.inf

    def set_weights(self, model: Model) -> None:
        layout = Layout(len(self.machine.symbols), self.shape.hidden)
        layout.embed(model)
        mixer: Any = model.mixers[0]
        width = layout.width
        query, key, value, rate = mixer.slow_net.weight.split([width, width, width, 1])
        query[0] = key[0] = rate[0] = layout.row(constant=SATURATED)
        self._set_recurrence(value, mixer.recurrent_value[0], layout)
        self._set_readout(model, layout)

    def _units(self) -> list[tuple[int, int]]:
        """The state and the symbol's index of every unit. The unit that is always on comes after them."""
        return [(state, symbol) for state, row in enumerate(self.machine.moves) for symbol in range(len(row))]

    def _set_recurrence(self, value: Tensor, recurrent: Tensor, layout: Layout) -> None:
        units, moves = self._units(), self.machine.moves
        leading = Counter(moves[state][symbol] for state, symbol in units)
        value[len(units)] = layout.row(constant=DRIVE)
        for unit, (state, symbol) in enumerate(units):
            first = 1 if state == self.machine.start else -1
            value[unit] = layout.row({symbol: 2 * DRIVE}, constant=DRIVE * (first - 2))
            recurrent[len(units), unit] = DRIVE * (leading[state] - 1 - first)
            for origin, (before, read) in enumerate(units):
                if moves[before][read] == state:
                    recurrent[origin, unit] = DRIVE

    def _set_readout(self, model: Model, layout: Layout) -> None:
        units = self._units()
        mixer: Any = model.mixers[0]
        feed_forward: Any = model.feed_forwards[0]
        feed_forward.layer_norm.weight.fill_(1)
        for unit, (state, symbol) in enumerate(units):
            mixer.out_linear.weight[layout.slot(unit), unit] = 1
            mixer.out_linear.weight[layout.slot(len(units)), unit] = -1
            feed_forward.linear1.weight[unit, layout.slot(unit)] = 1
            output = self.machine.outputs[self.machine.moves[state][symbol]]
            if output is not None:
                index = self.machine.classes.index(output)
                feed_forward.linear2.weight[layout.slot(len(units) + 1 + index), unit] = 1
                model.readout.weight[index, layout.slot(len(units) + 1 + index)] = 1
