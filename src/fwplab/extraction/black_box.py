"""Queries a model for its labels, in batches and with a cache."""

from itertools import product

import numpy as np
import torch

from fwplab.extraction.mealy import UNDEFINED, Integers, Mealy
from fwplab.model.model import Model
from fwplab.training.evaluate import TOKENS_AT_ONCE

AHEAD = 2
"""The number of symbols by which `BlackBox.answer` extends a word."""


@torch.no_grad()
def predict(model: Model, tokens: Integers, symbols: int) -> Integers:
    """The model's classes `[words, time]`; beyond the end of a word, where a token is `symbols`, they mean nothing."""
    rows = max(1, TOKENS_AT_ONCE // max(1, tokens.shape[1]))
    inside = np.minimum(tokens, symbols - 1)
    parts = [
        model(torch.from_numpy(inside[start : start + rows])).argmax(-1).numpy()
        for start in range(0, len(tokens), rows)
    ]
    return np.concatenate(parts) if parts else np.empty(tokens.shape, dtype=np.int64)


class BlackBox:
    """Labels of a model on words, with a cache and a count of queries.

    - `model`: the model.
    - `labelled`: a machine whose outputs are UNDEFINED where the language has no label. There the answers are, too.
    - `queries`: the number of words that the model has read.
    """

    def __init__(self, model: Model, labelled: Mealy) -> None:
        self.model, self.labelled = model.eval(), labelled
        self.queries = 0
        self._answers: dict[tuple[int, ...], list[int]] = {}

    def labels(self, tokens: Integers) -> Integers:
        """The model's classes `[words, time]`; UNDEFINED at padding and where `labelled` is. It ignores the cache.

        tokens: token ids, `[words, time]`.
        """
        self.queries += len(tokens)
        predicted = predict(self.model, tokens, len(self.labelled.symbols))
        return np.where(self.labelled.run(tokens) == UNDEFINED, UNDEFINED, predicted)

    def answer(self, word: tuple[int, ...]) -> list[int]:
        """The classes at every position of one word.

        Words that are not in the cache are queried together with all their extensions by `AHEAD` symbols. In one batch
        these cost little, and a learner is likely to ask for them next.
        """
        if word not in self._answers:
            words = [(*word, *more) for more in product(range(len(self.labelled.symbols)), repeat=AHEAD)]
            for longer, predicted in zip(words, self.labels(np.array(words, dtype=np.int64)).tolist(), strict=True):
                for length in range(len(word), len(longer) + 1):
                    self._answers[longer[:length]] = predicted[:length]
        return self._answers[word]
