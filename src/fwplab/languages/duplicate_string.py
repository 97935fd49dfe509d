"""A string twice."""

from fwplab.languages._transduction import Transduction


class DuplicateString(Transduction):
    """Reads a string over {a, b}, then writes it twice.

    The output is written on blanks `_`, and only its labels count. `draw` is uniform over all words of a length.
    Duplicate String of Deletang et al. (arXiv 2207.02098).

    >>> " ".join(DuplicateString().labels("ab____"))
    '- - a b a b'
    >>> DuplicateString().contains("ab____"), DuplicateString().contains("ab__"), DuplicateString().count(6)
    (True, False, 4)
    >>> sorted(DuplicateString().next_symbols("a__"))
    ['end']
    """

    inputs = "ab"
    outputs = "ab"
    times = 2
    hierarchy = "transduction (context-sensitive)"

    def output(self, text: str) -> str:
        return text + text

    def output_rule(self, text: str) -> str:
        return "".join(text[place % len(text)] for place in range(2 * len(text)))
