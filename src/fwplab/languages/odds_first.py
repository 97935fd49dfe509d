"""The symbols at odd positions, then those at even ones."""

from fwplab.languages._transduction import Transduction


class OddsFirst(Transduction):
    """Reads a string over {a, b}, then writes its first, third, fifth, ... symbol and after these the others.

    The output is written on blanks `_`, and only its labels count. `draw` is uniform over all words of a length.
    Odds First of Deletang et al. (arXiv 2207.02098).

    >>> " ".join(OddsFirst().labels("abbba_____"))
    '- - - - - a b a b b'
    >>> OddsFirst().contains("ab__"), OddsFirst().contains("ab_"), OddsFirst().count(6)
    (True, False, 8)
    >>> sorted(OddsFirst().next_symbols("ab")), sorted(OddsFirst().next_symbols("ab__"))
    (['_', 'a', 'b'], ['end'])
    """

    inputs = "ab"
    outputs = "ab"
    hierarchy = "transduction (context-sensitive)"

    def output(self, text: str) -> str:
        return text[::2] + text[1::2]

    def output_rule(self, text: str) -> str:
        return "".join(text[place] for place in sorted(range(len(text)), key=lambda place: (place % 2, place)))
