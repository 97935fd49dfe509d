"""A model that one can only ask: what does it say at each position of these words?"""

from collections.abc import Sequence

import numpy as np
import torch

from fwplab.evaluate import TOKENS_AT_ONCE
from fwplab.extraction.mealy import UNDEFINED, Integers, Mealy, tokens_of
from fwplab.model import Model


class BlackBox:
    """Answers in batches, and remembers what it was asked; `queries` counts the words that the model has read.

    Where `asked` says nothing, nothing is asked: the answer there is UNDEFINED.
    """

    def __init__(self, model: Model, asked: Mealy) -> None:
        self.model, self.asked = model.eval(), asked
        self.queries = 0
        self._answers: dict[tuple[int, ...], list[int]] = {}

    @torch.no_grad()
    def labels(self, tokens: Integers) -> Integers:
        """The model's classes `[words, time]`, read anew; positions beyond a word's end are padding and UNDEFINED."""
        self.queries += len(tokens)
        rows = max(1, TOKENS_AT_ONCE // max(1, tokens.shape[1]))
        inside = np.minimum(tokens, len(self.asked.symbols) - 1)
        parts = [
            self.model(torch.from_numpy(inside[start : start + rows])).argmax(-1).numpy()
            for start in range(0, len(tokens), rows)
        ]
        said = np.concatenate(parts) if parts else np.empty(tokens.shape, dtype=np.int64)
        return np.where(self.asked.run(tokens) == UNDEFINED, UNDEFINED, said)

    def answers(self, words: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """As `labels` for words of any lengths, each read once."""
        new = [word for word in dict.fromkeys(words) if word not in self._answers]
        if new:
            said = self.labels(tokens_of(new, len(self.asked.symbols)))
            for word, row in zip(new, said.tolist(), strict=True):
                self._answers[word] = row[: len(word)]
        return [self._answers[word] for word in words]
