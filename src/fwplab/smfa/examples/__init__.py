"""Languages that self-modifying automata recognise and finite automata do not. Each file is one catalogue entry."""

from fwplab.catalogue import Catalogue
from fwplab.smfa.examples.example import Example

EXAMPLES: Catalogue[Example] = Catalogue(
    "self-modifying automaton",
    "fwplab.smfa.examples",
    Example,
    separator="-",
    besides=("example",),
)

__all__ = ["EXAMPLES", "Example"]
