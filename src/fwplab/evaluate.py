"""The evaluation of models: accuracies, losses and first errors on data sets, and the accuracy of guessing."""

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
"""The largest number of positions in a batch of evaluation, which bounds the memory."""
STREAM_CHUNK = 1_000
"""The number of positions in a chunk of a streamed string."""


def batches(data: Dataset, device: str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and labels, `[batch, time]` each, in batches of strings of similar length, to have little padding."""
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


def correct_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each string is labelled correctly at every position, and its loss summed over the positions.

    logits: `[..., batch, time, classes]`.
    labels: class ids or IGNORE, `[batch, time]`.

    Both results are `[..., batch]`.
    """
    labels = labels.expand(logits.shape[:-1])
    ignored = labels == IGNORE
    correct = ((logits.argmax(-1) == labels) | ignored).all(-1)
    loss = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="none")
    return correct, loss.view(labels.shape).sum(-1)


@torch.no_grad()
def score(run: Callable[[Tensor], Tensor], data: Dataset, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """The number of strings that are labelled correctly at every position, and the mean loss of a label.

    run: a model, or a population; tokens `[batch, time]` to logits `[..., batch, time, classes]`.

    Both results are scalars for a model and `[member]` for a population.
    """
    correct, loss = torch.zeros(()), torch.zeros(())
    for tokens, labels in batches(data, device):
        corrects, losses = correct_and_loss(run(tokens), labels)
        correct, loss = correct + corrects.sum(-1).cpu(), loss + losses.sum(-1).double().cpu()
    return correct.long(), (loss / max(int((data.labels != IGNORE).sum()), 1)).double()


@torch.no_grad()
def first_errors(model: Model, data: Dataset, device: str = "cpu", chunk: int = STREAM_CHUNK) -> list[int | None]:
    """The position of each string's first wrong label, counted from 0; None if all its labels are right.

    The strings are read `chunk` positions at a time and the state is carried over. So the memory does not grow with
    their length, unless the state of the mixer does.
    """
    errors: list[int | None] = [None] * len(data)
    for part in stream_chunks(model, data, device, chunk):
        labels = torch.from_numpy(data.labels[part.rows, part.positions]).to(device)
        wrong = (part.logits.argmax(-1) != labels) & (labels != IGNORE)
        for row in wrong.any(-1).nonzero().flatten().tolist():
            string = part.rows.start + row
            if errors[string] is None:
                errors[string] = part.positions.start + int(wrong[row].int().argmax())
    return errors


@dataclass(frozen=True)
class Chunk:
    """The outputs of a model at some positions of some strings."""

    rows: slice
    """The strings, as rows of the data set."""
    positions: slice
    """The positions."""
    logits: Tensor
    """The logits there, `[rows, positions, classes]`."""
    state: list[State]
    """The state of every layer after the last of these positions."""


@torch.no_grad()
def stream_chunks(model: Model, data: Dataset, device: str = "cpu", chunk: int = STREAM_CHUNK) -> Iterator[Chunk]:
    """Reads the strings `chunk` positions at a time; each chunk starts from the state after the one before."""
    rows_at_once = max(1, TOKENS_AT_ONCE // chunk)
    for begin in range(0, len(data), rows_at_once):
        rows = slice(begin, min(begin + rows_at_once, len(data)))
        longest = int(data.lengths[rows].max())
        state = model.initial_state(len(data.lengths[rows]))
        for start in range(0, longest, chunk):
            positions = slice(start, min(start + chunk, longest))
            logits, state = model.scan(torch.from_numpy(data.tokens[rows, positions]).to(device), state)
            yield Chunk(rows, positions, logits, state)


def chance(train: Dataset, data: Dataset) -> tuple[float, float]:
    """The whole-string accuracies on `data` of two guesses that are fitted to `train`.

    The first guess is the most frequent label of all. The second is the most frequent label of the current symbol,
    which is what a model without memory can learn.
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
    ignored = data.labels == IGNORE
    return (
        float(((data.labels == majority) | ignored).all(1).mean()),
        float(((table[data.tokens] == data.labels) | ignored).all(1).mean()),
    )
