"""Recurrent Delta is any finite automaton."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fwplab.automata import Moore
from fwplab.constructions._machine import machine_of
from fwplab.constructions.construction import Construction
from fwplab.constructions.layout import SURE, Layout
from fwplab.languages import language
from fwplab.mixers import MixerSpec
from fwplab.mixers.recurrent_delta import RecurrentDelta
from fwplab.model import Model, ModelSpec

DRIVE = 32.0
"""What drives a unit: `tanh(32)` is 1 in every precision."""


@dataclass(frozen=True)
class RecurrentDeltaAutomaton(Construction):
    """Any Moore machine, by one layer with one head; without an argument, that of (abab)*.

    Key and query are always the first unit vector and the rate is always 1, for their logits are 1000 apart. The delta
    rule then keeps the last value alone, `o_t = v_t = v_x + tanh(o_{t-1}) R_v`: a recurrent network with tanh. It has
    a unit for every state i and symbol s, on (+1) when the machine was in i and then read s, else off (-1), and one
    more, h*, that is on from the first position. Let `c_i` be the number of units that lead to i. The sum of their
    `h`, plus `c_i - 1`, is 1 when the machine is in i, and -1 when it is not, and p_s the indicator of the symbol:

        o_(i,s) = D [ sum of h_(j,r) that lead to i  +  (c_i - 1 - e_i) h*  +  e_i  +  2 (p_s - 1) ]

    is D for the one unit that is right, and -D or -3 D for all others. At the first position all h are 0, and
    `e_i = 1` for the first state, -1 for others, takes the place of the sum. `tanh(+-32)` is +-1 exactly, so that no
    error is handed on from one position to the next: precision never breaks it.

    The readout must not add up what is off: OutLinear writes the units beside each other, and minus their sum, so that
    the LayerNorm of the feed-forward finds a mean of 0 and keeps signs; ReLU leaves only the unit that is on, and the
    second map adds it to the slot of the output that the machine has there.
    """

    machine: Moore = machine_of(language("abab_star"))

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
        query[0] = key[0] = rate[0] = layout.row(constant=SURE)
        self._set_recurrence(value, mixer.recurrent_value[0], layout)
        self._set_readout(model, layout)

    def _units(self) -> list[tuple[int, int]]:
        """State and index of the symbol of every unit; the unit that is always on comes after them."""
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
