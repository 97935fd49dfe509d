"""Recurrent Delta computes parity."""

from dataclasses import dataclass

from fwplab.automata import Moore
from fwplab.constructions._machine import machine_of
from fwplab.constructions.recurrent_delta_automaton import RecurrentDeltaAutomaton
from fwplab.languages import load_language


@dataclass(frozen=True)
class RecurrentDeltaParity(RecurrentDeltaAutomaton):
    """Parity, as a machine with two states: four units and one that is always on.

    `RecurrentDeltaAutomaton` explains why the weights are right.
    """

    machine: Moore = machine_of(load_language("parity"))
