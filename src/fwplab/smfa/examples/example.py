"""The base class of the examples: a self-modifying automaton, and an independent definition of its language."""

from abc import ABC, abstractmethod

import numpy as np

from fwplab.smfa.machine import SelfModifying


class Example(ABC):
    """An example. The docstring of a subclass gives the language and explains why the machine recognises it."""

    @abstractmethod
    def machine(self) -> SelfModifying:
        """The automaton."""

    @abstractmethod
    def contains(self, word: str) -> bool:
        """Whether `word` is in the language, for every word over the machine's alphabet."""

    @abstractmethod
    def draw(self, size: int, generator: np.random.Generator) -> str:
        """A random word of the language, of about `size` symbols."""


def letters(symbols: str, number: int, generator: np.random.Generator) -> str:
    """`number` independent uniform symbols."""
    return "".join(symbols[index] for index in generator.integers(len(symbols), size=number))
