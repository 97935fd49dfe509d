"""What an example is: a self-modifying automaton, and its language defined without it."""

from abc import ABC, abstractmethod

import numpy as np

from fwplab.smfa.machine import SelfModifying


class Example(ABC):
    """A subclass says in its docstring which language this is and why the machine recognises it."""

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
    """So many independent uniform symbols."""
    return "".join(symbols[index] for index in generator.integers(len(symbols), size=number))
