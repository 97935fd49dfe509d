"""Languages of finitely many states as Moore machines."""

from fwplab.automata import Moore
from fwplab.errors import UserError
from fwplab.languages import Language

LIMIT = 100


def machine_of(language: Language) -> Moore:
    """The machine of a regular language, with its labels; a `UserError` for one of more than `LIMIT` states."""
    moves = language.machine(LIMIT)
    if moves is None:
        raise UserError(f"{language.name} has more than {LIMIT} states: choose a regular language")
    number = {state: index for index, state in enumerate(moves)}
    return Moore(
        language.symbols,
        tuple(language.label(state) for state in moves),
        tuple(tuple(number[row[symbol]] for symbol in language.symbols) for row in moves.values()),
    )
