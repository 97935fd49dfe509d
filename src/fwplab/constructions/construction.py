"""What a construction is: a task, the mixer that is to solve it, and the weights with which it does."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from fwplab.mixers import MixerSpec
from fwplab.model import Model, ModelSpec, build


class Task(Protocol):
    """A deterministic machine that labels every position: a language, or a Moore machine."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The alphabet."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels."""

    @property
    def start(self) -> Any:
        """The state before the first symbol."""

    def step(self, state: Any, symbol: str, /) -> Any:
        """The state after one more symbol."""

    def label(self, state: Any, /) -> str | None:
        """The label of a position that led to `state`, None where none is asked for."""


class Construction(ABC):
    """Weights that are not learned: an ordinary model, every parameter zero but those that `set_weights` sets.

    A subclass is a frozen dataclass whose docstring holds the argument. `check.py` tests what it claims.
    """

    @property
    @abstractmethod
    def task(self) -> Task:
        """What is recognised."""

    @property
    @abstractmethod
    def mixer(self) -> MixerSpec:
        """The layer that does it."""

    @property
    @abstractmethod
    def shape(self) -> ModelSpec:
        """The model around it."""

    @abstractmethod
    def set_weights(self, model: Model) -> None:
        """Sets the weights of a model whose parameters are all zero."""

    @abstractmethod
    def breaks_at(self, dtype: torch.dtype) -> float:
        """The length of the shortest word that finite precision makes the model get wrong; infinite for none."""

    def hardest(self, length: int) -> str:
        """A word of about this length, never longer, on which the model fails as soon as on any."""
        return self.random_word(length, np.random.default_rng(0))

    def random_word(self, length: int, generator: np.random.Generator) -> str:
        """A word of about this length, never longer, that the task labels: uniform symbols unless said otherwise."""
        symbols = self.task.symbols
        return "".join(symbols[token] for token in generator.integers(len(symbols), size=length))

    def build(self, dtype: torch.dtype = torch.float32) -> Model:
        """The model. Its vocabulary has one token more than the alphabet, padding."""
        task = self.task
        model = build(self.mixer, self.shape, len(task.symbols) + 1, len(task.classes), seed=0).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            self.set_weights(model)
        return model


def labels(task: Task, word: Sequence[str]) -> list[str | None]:
    """The label after each symbol."""
    state, found = task.start, []
    for symbol in word:
        state = task.step(state, symbol)
        found.append(task.label(state))
    return found
