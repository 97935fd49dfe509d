"""Recurrent Delta tells even from odd."""

from dataclasses import dataclass

from fwplab.automata import Moore
from fwplab.constructions._machine import machine_of
from fwplab.constructions.recurrent_delta_automaton import RecurrentDeltaAutomaton
from fwplab.languages import language


@dataclass(frozen=True)
class RecurrentDeltaParity(RecurrentDeltaAutomaton):
    """Parity, as the machine of two states that it is: four units, and one that is always on.

    The argument is that of `RecurrentDeltaAutomaton`.
    """

    machine: Moore = machine_of(language("parity"))
