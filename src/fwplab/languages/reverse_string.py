"""A string backwards."""

from fwplab.languages._transduction import Transduction


class ReverseString(Transduction):
    """Reads a string over {a, b}, then writes it backwards.

    The output is written on blanks `_`, and only its labels count. `draw` is uniform over all words of a length.
    Reverse String of Deletang et al. (arXiv 2207.02098). A stack is enough.

    >>> " ".join(ReverseString().labels("abb___"))
    '- - - b b a'
    >>> ReverseString().contains("ab__"), ReverseString().contains("ab_"), ReverseString().count(6)
    (True, False, 8)
    >>> sorted(ReverseString().next_symbols("ab_"))
    ['_']
    """

    inputs = "ab"
    outputs = "ab"
    hierarchy = "transduction (context-free)"

    def output(self, text: str) -> str:
        return text[::-1]

    def output_rule(self, text: str) -> str:
        return "".join(text[-1 - place] for place in range(len(text)))
