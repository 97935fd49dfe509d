"""Regular languages as Moore machines."""

from fwplab.automata import Moore
from fwplab.errors import UserError
from fwplab.languages import Language

MAX_STATES = 100


def machine_of(language: Language) -> Moore:
    """Returns the Moore machine of a regular language, with the labels of the language as outputs.

    Raises `UserError` for a language with more than `MAX_STATES` states.
    """
    moves = language.machine(MAX_STATES)
    if moves is None:
        raise UserError(f"{language.name} has more than {MAX_STATES} states: choose a regular language")
    number = {state: index for index, state in enumerate(moves)}
    return Moore(
        language.symbols,
        tuple(language.label(state) for state in moves),
        tuple(tuple(number[row[symbol]] for symbol in language.symbols) for row in moves.values()),
    )
