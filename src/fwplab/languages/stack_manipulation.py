"""The stack after pushes and pops."""

from fwplab.languages._transduction import Transduction


class StackManipulation(Transduction):
    """Reads pushes (a, b) and pops (-), then writes the stack, the top first, and a dot for each place that is left.

    The stack is empty at first, and a pop of an empty stack does nothing. The output is written on blanks `_`, and only
    its labels count. `draw` is uniform over all words of a length. After Stack Manipulation of Deletang et al. (arXiv
    2207.02098), which begins with a stack that is given.

    >>> " ".join(StackManipulation().labels("ab-b____"))
    '- - - - b a . .'
    >>> StackManipulation().contains("a-__"), StackManipulation().contains("a-_"), StackManipulation().count(4)
    (True, False, 9)
    >>> sorted(StackManipulation().next_symbols("a_")), sorted(StackManipulation().next_symbols("a-_"))
    (['end'], ['_'])
    """

    inputs = "ab-"
    outputs = "ab."
    hierarchy = "transduction (context-free)"

    def output(self, text: str) -> str:
        stack = ""
        for symbol in text:
            stack = stack[:-1] if symbol == "-" else stack + symbol
        return stack[::-1].ljust(len(text), ".")

    def output_rule(self, text: str) -> str:
        """Reads backwards: a pop cancels the push that it meets first."""
        pops, left = 0, []
        for symbol in reversed(text):
            if symbol == "-":
                pops += 1
            elif pops:
                pops -= 1
            else:
                left.append(symbol)
        return "".join(left).ljust(len(text), ".")
