"""A memory of one bit that is written and read."""

import re

from fwplab.languages._regular import Regular


class FlipFlop(Regular):
    """Instructions write, ignore and read (w, i, r), each with a bit; what is read is what was written last.

    A word begins with a write, or is empty. The label of a position is the bit in the memory, or - before the first
    write is complete. The flip-flop language of Liu et al. (arXiv 2306.00946).

    >>> " ".join(FlipFlop().labels("w1i0r1w0"))
    '- 1 1 1 1 1 1 0'
    >>> FlipFlop().contains("w1i0r1"), FlipFlop().contains("w1r0"), FlipFlop().contains("i0w1"), FlipFlop().count(4)
    (True, False, False, 10)
    >>> sorted(FlipFlop().next_symbols("w1i0r")), sorted(FlipFlop().next_symbols("w1i"))
    (['1'], ['0', '1'])
    """

    symbols = ("w", "i", "r", "0", "1")
    classes = ("-", "0", "1")
    hierarchy = "regular (star-free)"
    # The start; after the first w; then for each bit in the memory: after a bit, after w, after i, after r.
    moves = (
        (1, None, None, None, None),
        (None, None, None, 2, 6),
        (3, 4, 5, None, None),
        (None, None, None, 2, 6),
        (None, None, None, 2, 2),
        (None, None, None, 2, None),
        (7, 8, 9, None, None),
        (None, None, None, 2, 6),
        (None, None, None, 6, 6),
        (None, None, None, None, 6),
    )
    accepting = frozenset((0, 2, 6))

    def label(self, state: int | None) -> str | None:
        return None if state is None else "-" if state < 2 else "01"[state > 5]

    def word_rule(self, string: str) -> bool:
        return len(string) % 2 == 0 and self.label_rule(string) is not None

    def label_rule(self, prefix: str) -> str | None:
        pairs = [prefix[place : place + 2] for place in range(0, len(prefix), 2)]
        memory = "-"
        for pair in pairs:
            wrong = not re.fullmatch("[wir][01]?", pair) or (memory == "-" and pair[0] != "w")
            if wrong or (pair[0] == "r" and pair[1:] not in ("", memory)):
                return None
            memory = pair[1] if pair[0] == "w" and pair[1:] else memory
        return memory
