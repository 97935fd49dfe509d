"""A string with its symbols sorted."""

from fwplab.languages._transduction import Transduction


class BucketSort(Transduction):
    """Reads a string over the digits 0 to 4, then writes its digits from the least to the greatest.

    The output is written on blanks `_`, and only its labels count. `draw` is uniform over all words of a length.
    Bucket Sort of Deletang et al. (arXiv 2207.02098). A counter for each digit is enough.

    >>> " ".join(BucketSort().labels("3012____"))
    '- - - - 0 1 2 3'
    >>> BucketSort().contains("31__"), BucketSort().contains("31_"), BucketSort().count(4)
    (True, False, 25)
    >>> sorted(BucketSort().next_symbols("3_"))
    ['end']
    """

    inputs = "01234"
    outputs = "01234"
    hierarchy = "transduction (context-sensitive)"

    def output(self, text: str) -> str:
        return "".join(sorted(text))

    def output_rule(self, text: str) -> str:
        return "".join(digit * text.count(digit) for digit in self.inputs)
