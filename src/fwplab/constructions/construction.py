"""The base class of constructions: a task, the mixer that solves it, and the weights that make it do so."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from fwplab.mixers import MixerSpec
from fwplab.model import Model, ModelSpec, build


class Task(Protocol):
    """A deterministic machine that labels every position: a `Language` or a `Moore` machine."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The alphabet."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The possible labels."""

    @property
    def start(self) -> Any:
        """The state before the first symbol."""

    def step(self, state: Any, symbol: str, /) -> Any:
        """The state after one more symbol."""

    def label(self, state: Any, /) -> str | None:
        """The label of a position whose symbol led to `state`; None for a position without a label."""


class Construction(ABC):
    """A model with weights that are set by hand: every parameter is zero except those that `set_weights` sets.

    A subclass is a frozen dataclass. Its docstring explains why the weights solve the task. `check.py` tests the claim.
    """

    @property
    @abstractmethod
    def task(self) -> Task:
        """The language or the machine that the model computes."""

    @property
    @abstractmethod
    def mixer(self) -> MixerSpec:
        """The sequence-mixing layer."""

    @property
    @abstractmethod
    def shape(self) -> ModelSpec:
        """The sizes of the model."""

    @abstractmethod
    def set_weights(self, model: Model) -> None:
        """Sets the weights of a model whose parameters are all zero."""

    @abstractmethod
    def breaks_at(self, dtype: torch.dtype) -> float:
        """The predicted length of the shortest word that rounding makes the model mislabel; infinity for none."""

    def hardest_word(self, length: int) -> str:
        """A word of about `length` symbols, never more, that fails no later than any other word of that length."""
        return self.random_word(length, np.random.default_rng(0))

    def random_word(self, length: int, generator: np.random.Generator) -> str:
        """A random word of about `length` symbols, never more, that the task labels. Symbols are uniform by default."""
        symbols = self.task.symbols
        return "".join(symbols[token] for token in generator.integers(len(symbols), size=length))

    def build(self, dtype: torch.dtype = torch.float32) -> Model:
        """Builds the model. Its vocabulary is the alphabet and one padding token."""
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
