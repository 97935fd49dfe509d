"""The base class of languages in which a model first reads a string and then writes one."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fwplab.languages.language import END, Language

BLANK = "_"
NONE = "-"


class Tape(NamedTuple):
    """The state: before the first blank what has been read, after it what is still to be written, next symbol last."""

    text: str
    writing: bool


class Transduction(Language):
    """A string w, then as many blanks `_` as the output f(w) has symbols. The labels of the blanks are the output.

    Only these labels count: models are trained and judged on them. The label of a position of w is -. A string that
    begins no word has no labels. `draw` is uniform over all words of a length.

    - `inputs`: the alphabet of w.
    - `outputs`: the alphabet of f(w).
    - `times`: how many times as long as w the output is.
    """

    inputs: ClassVar[str]
    outputs: ClassVar[str]
    times: ClassVar[int] = 1
    start = Tape("", False)
    longest = 20_001

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "inputs" in vars(cls):
            cls.symbols = (*cls.inputs, BLANK)
            cls.classes = (NONE, *cls.outputs)

    @abstractmethod
    def output(self, text: str) -> str:
        """f(w), with `times` as many symbols as w."""

    @abstractmethod
    def output_rule(self, text: str) -> str:
        """f(w), computed in another way, for the tests."""

    def step(self, state: Tape | None, symbol: str) -> Tape | None:
        if state is None or symbol not in self.following(state):
            return None
        if symbol != BLANK:
            return Tape(state.text + symbol, False)
        if state.writing:
            return Tape(state.text[:-1], True)
        return Tape(self.output(state.text)[::-1], True)

    def label(self, state: Tape | None) -> str | None:
        """The symbol that is written at this position."""
        if state is None:
            return None
        return state.text[-1] if state.writing else NONE

    def following(self, state: Tape | None) -> frozenset[str]:
        if state is None:
            return frozenset()
        if state.writing:
            return frozenset((BLANK if len(state.text) > 1 else END,))
        return frozenset(self.symbols if state.text else self.inputs)

    def asked(self, length: int) -> int:
        return length - self._read(length)

    def _read(self, length: int) -> int:
        """The length of the input of a word."""
        return length // (1 + self.times)

    def word_rule(self, string: str) -> bool:
        read = string.rstrip(BLANK)
        return bool(read) and BLANK not in read and len(string) == (1 + self.times) * len(read)

    def label_rule(self, prefix: str) -> str | None:
        read = prefix.rstrip(BLANK)
        written = len(prefix) - len(read)
        if BLANK in read or (not read and written) or written > self.times * len(read):
            return None
        return self.output_rule(read)[written - 1] if written else NONE

    def count(self, length: int) -> int:
        whole = length > 0 and length % (1 + self.times) == 0
        return len(self.inputs) ** self._read(length) if whole else 0

    def draw(self, length: int, number: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        tokens = np.full((number, length), len(self.inputs), dtype=np.int8)
        read = self._read(length)
        tokens[:, :read] = generator.integers(len(self.inputs), size=(number, read))
        return tokens
