"""Which strings does a model label right at every position, and what would guessing score?"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fwplab.languages.dataset import IGNORE, Dataset
from fwplab.mixers import State
from fwplab.model import Model

TOKENS_AT_ONCE = 50_000
"""Positions in one batch of evaluation: large enough for the machine, small enough for a laptop's memory."""
STREAM_CHUNK = 1_000
"""Positions that a streamed string advances at once."""


def batches(data: Dataset, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and labels in batches of strings of similar length, so that little work is done on padding."""
    order = np.argsort(data.lengths, kind="stable")
    start = 0
    while start < len(order):
        count = 1
        while start + count < len(order) and (count + 1) * data.lengths[order[start + count]] <= TOKENS_AT_ONCE:
            count += 1
        rows = order[start : start + count]
        longest = int(data.lengths[rows].max())
        yield (
            torch.from_numpy(data.tokens[rows, :longest]).to(device),
            torch.from_numpy(data.labels[rows, :longest]).to(device),
        )
        start += count


def right_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each string is right everywhere, `[..., batch]`, and the summed loss of its positions."""
    labels = labels.expand(logits.shape[:-1])
    padding = labels == IGNORE
    right = ((logits.argmax(-1) == labels) | padding).all(-1)
    loss = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="none")
    return right, loss.view(labels.shape).sum(-1)


@torch.no_grad()
def score(run: Callable[[Tensor], Tensor], data: Dataset, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Right strings and mean loss a label; with a population as `run` both are `[member]`."""
    right, loss = torch.zeros(()), torch.zeros(())
    for tokens, labels in batches(data, device):
        rights, losses = right_and_loss(run(tokens), labels)
        right, loss = right + rights.sum(-1).cpu(), loss + losses.sum(-1).double().cpu()
    return right.long(), (loss / max(int((data.labels != IGNORE).sum()), 1)).double()


@torch.no_grad()
def first_errors(model: Model, data: Dataset, device: str = "cpu", chunk: int = STREAM_CHUNK) -> list[int | None]:
    """The position of each string's first wrong label (from 0), None for a string that is right everywhere.

    Strings are streamed, `chunk` positions at a time with the state carried over: the memory does not grow with the
    length, for every mixer whose own state does not.
    """
    errors: list[int | None] = [None] * len(data)
    for piece in streamed(model, data, device, chunk):
        labels = torch.from_numpy(data.labels[piece.rows, piece.positions]).to(device)
        wrong = (piece.logits.argmax(-1) != labels) & (labels != IGNORE)
        for row in wrong.any(-1).nonzero().flatten().tolist():
            place = piece.rows.start + row
            if errors[place] is None:
                errors[place] = piece.positions.start + int(wrong[row].int().argmax())
    return errors


@dataclass(frozen=True)
class Piece:
    """Some positions of some strings, what the model says there, and its state after them, a layer each."""

    rows: slice
    positions: slice
    logits: Tensor
    state: list[State]


@torch.no_grad()
def streamed(model: Model, data: Dataset, device: str = "cpu", chunk: int = STREAM_CHUNK) -> Iterator[Piece]:
    """The strings in pieces of `chunk` positions, each from the state that the one before it left."""
    rows_at_once = max(1, TOKENS_AT_ONCE // chunk)
    for begin in range(0, len(data), rows_at_once):
        rows = slice(begin, min(begin + rows_at_once, len(data)))
        longest = int(data.lengths[rows].max())
        state = model.initial_state(len(data.lengths[rows]))
        for start in range(0, longest, chunk):
            positions = slice(start, min(start + chunk, longest))
            logits, state = model.scan(torch.from_numpy(data.tokens[rows, positions]).to(device), state)
            yield Piece(rows, positions, logits, state)


def chance(train: Dataset, data: Dataset) -> tuple[float, float]:
    """Whole-string accuracy of two guesses learned from `train`: one label everywhere, and one label a symbol.

    The second is the best that a look at the current symbol alone can do, without depth and without memory.
    """
    labels = train.labels[train.labels != IGNORE]
    symbols = train.tokens[train.labels != IGNORE]
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for symbol, label in zip(symbols.tolist(), labels.tolist(), strict=True):
        counts[symbol][label] += 1
    majority = sum(counts.values(), Counter()).most_common(1)[0][0]
    table = np.full(int(max(train.tokens.max(), data.tokens.max())) + 1, majority)
    for symbol, counter in counts.items():
        table[symbol] = counter.most_common(1)[0][0]
    padding = data.labels == IGNORE
    return (
        float(((data.labels == majority) | padding).all(1).mean()),
        float(((table[data.tokens] == data.labels) | padding).all(1).mean()),
    )
