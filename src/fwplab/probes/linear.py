"""Linear probes: whether the automaton's state, or the value of a counter, can be read off a layer.

The accuracy of a probe alone proves little, because an expressive probe can learn anything. Two controls are reported
with it: a control task (Hewitt and Liang, arXiv 1909.03368), with random labels for each type of position, and the same
probe on the untrained model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fwplab.languages import Language
from fwplab.model import Model
from fwplab.probes.words import Values, Words, draw, flatten_layer, stream

WINDOWS = ((1, 10), (11, 25), (26, 50), (51, 100))
"""Positions that are scored together. The last window is beyond all training lengths."""
TRAIN, TEST = 160, 80
"""The number of words of 2-50 symbols to fit a probe, and of words to score it, both of 2-50 and of 51-100."""
POSITIONS = 3_000
"""About how many random positions of the training words are used."""
STRENGTHS = (1e-2, 1.0, 1e2)
"""Ridge penalties, for standardised features and the mean over positions. A fifth of the words selects one."""


@dataclass(frozen=True)
class Target:
    """A quantity to read off a layer.

    - `name`: its name.
    - `counts`: whether it is a number; otherwise it is the index of a class.
    - `value`: its value for a state of the language.
    """

    name: str
    counts: bool
    value: Callable[[Any], int]


def targets(language: Language, states: Sequence[Any]) -> list[Target]:
    """The counters of a language. If it has none, the state itself."""
    names = dict.fromkeys(name for state in states for name in language.counters(state))
    if names:
        return [Target(name, True, partial(_counter, language, name)) for name in names]
    index = {state: number for number, state in enumerate(dict.fromkeys(states))}
    return [Target("state", False, partial(_class, index))]


def _class(index: dict[Any, int], state: Any) -> int:
    """Returns -1 for a state that no training word reaches. No prediction is right there."""
    return index.get(state, -1)


def _counter(language: Language, name: str, state: Any) -> int:
    return language.counters(state)[name]


@torch.no_grad()
def linear_probes(model: Model, untrained: Model, language: Language) -> Values:
    """The share of positions at which a linear map of a layer gives the right value, for each window of positions.

    The names are `TARGET/layer N/PLACE/KIND`, and the number is the last position of the window. PLACE is `state` (the
    layer's state after the position) or `output` (the layer's output). KIND is

    - `right`: the probe of the trained model,
    - `control`: the same probe with random labels,
    - `untrained`: the same probe of the model before training.

    `TARGET/guess` is the share of the most frequent value. `seen` is the share of test positions whose whole prefix is
    also a prefix of a training word, where a probe could succeed by memory alone.
    """
    train, tests = draw(language, 2, 50, TRAIN, 0), (draw(language, 2, 50, TEST, 1), draw(language, 51, 100, TEST, 2))
    known = {word[:end] for word in train.data.strings for end in range(1, len(word) + 1)}
    values: Values = {}
    for kind, read in (("right", model), ("untrained", untrained)):
        features = [_features(read, words) for words in (train, *tests)]
        for target in targets(language, [state for states in train.states for state in states]):
            truth = [_values(words, target) for words in (train, *tests)]
            asked = {kind: truth}
            if kind == "right":
                pool = truth[0][train.inside].tolist()
                asked["control"] = [_random_values(words, pool, target) for words in (train, *tests)]
                guess = torch.mode(truth[0][train.inside]).values
                for words, its in zip(tests, truth[1:], strict=True):
                    values |= {(end, f"{target.name}/guess"): s for end, s in _by_window(words, its == guess).items()}
            for place in features[0]:
                for what, wanted in asked.items():
                    found = _scores(target, train, tests, [each[place] for each in features], wanted)
                    values |= {(end, f"{target.name}/{place}/{what}"): share for end, share in found.items()}
    for words in tests:
        seen = [[word[: end + 1] in known for end in range(words.tokens.shape[1])] for word in words.data.strings]
        values |= {(end, "seen"): share for end, share in _by_window(words, torch.tensor(seen)).items()}
    return values


def _features(model: Model, words: Words) -> dict[str, Tensor]:
    """The state and the output of every layer after every position, `[words, time, numbers]`, as `layer N/PLACE`."""
    outputs: list[list[Tensor]] = [[] for _ in model.feed_forwards]
    hooks = [
        block.register_forward_hook(lambda _, __, after, into=into: into.append(after[:, -1]))
        for block, into in zip(model.feed_forwards, outputs, strict=True)
    ]
    carried: list[list[Tensor]] = [[] for _ in model.mixers]
    try:
        start = model.initial_state(1)
        for _, state in stream(model, words.tokens):
            for layer, (part, first) in enumerate(zip(state, start, strict=True)):
                if all(one.shape[1:] == other.shape[1:] for one, other in zip(part, first, strict=True)):
                    carried[layer].append(flatten_layer(part))
    finally:
        for hook in hooks:
            hook.remove()
    time = words.tokens.shape[1]
    found = {f"layer {n + 1}/state": torch.stack(c, 1) for n, c in enumerate(carried) if len(c) == time}
    return found | {f"layer {n + 1}/output": torch.stack(each, 1) for n, each in enumerate(outputs)}


def _values(words: Words, target: Target) -> Tensor:
    """The target's values `[words, time]`; zero beyond the end of a word."""
    rows = [torch.tensor([target.value(state) for state in states]) for states in words.states]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _random_values(words: Words, pool: Sequence[int], target: Target) -> Tensor:
    """The control task: every type of position has a random value, drawn from the `pool` of true values.

    The type is the last three symbols and the position modulo 4, and it has the same value in all words. On (aa)* and
    (abab)* the type determines the state. There the control task is the task itself under other names, and no control.
    """
    rows = []
    for word in words.data.strings:
        types = [(word[max(0, end - 2) : end + 1], end % 4) for end in range(len(word))]
        rows.append(torch.tensor([pool[_hash(target.name, *each) % len(pool)] for each in types]))
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


@cache
def _hash(*parts: object) -> int:
    """A random number that depends on `parts` only."""
    seed = [ord(letter) for letter in "/".join(map(str, parts))]
    return int(np.random.default_rng(seed).integers(2**31))


def _scores(
    target: Target, train: Words, tests: Sequence[Words], features: Sequence[Tensor], truth: Sequence[Tensor]
) -> dict[int, float]:
    """The share of right positions in each window. `features` and `truth` hold the training set, then the test sets."""
    of_train, *of_tests = features
    held = torch.arange(len(of_train)) % 5 == 4
    generator = torch.Generator().manual_seed(0)
    use = train.inside & (torch.rand(train.inside.shape, generator=generator) < POSITIONS / train.inside.sum())
    fitted, checked = use & ~held[:, None], use & held[:, None]
    probes = [
        _Ridge(of_train[fitted], _regression_targets(truth[0][fitted], truth[0], target), strength)
        for strength in STRENGTHS
    ]
    expected = truth[0][checked]
    best = max(probes, key=lambda probe: float((probe.read(of_train[checked], target) == expected).float().mean()))
    found: dict[int, float] = {}
    for words, its, right in zip(tests, of_tests, truth[1:], strict=True):
        found |= _by_window(words, best.read(its.flatten(0, 1), target).view(right.shape) == right)
    return found


def _regression_targets(values: Tensor, every: Tensor, target: Target) -> Tensor:
    """The count itself, or one column for each class."""
    if target.counts:
        return values.double().unsqueeze(1)
    return nn.functional.one_hot(values, int(every.max()) + 1).double()


class _Ridge:
    """Ridge regression `y = (x - m) / s B + c`, with the penalty `strength / width |B|^2` per position."""

    def __init__(self, x: Tensor, y: Tensor, strength: float) -> None:
        x = x.double()
        self.mean, self.scale, self.middle = x.mean(0), x.std(0) + 1e-6, y.mean(0)
        x = (x - self.mean) / self.scale
        penalty = strength * len(x) * torch.eye(x.shape[1], dtype=x.dtype) / x.shape[1]
        self.weight = torch.linalg.solve(x.T @ x + penalty, x.T @ (y - self.middle))

    def read(self, x: Tensor, target: Target) -> Tensor:
        """The nearest count, or the class with the largest value."""
        predicted = (x.double() - self.mean) / self.scale @ self.weight + self.middle
        value: Tensor = predicted.squeeze(1).round().long() if target.counts else predicted.argmax(1)
        return value


def _by_window(words: Words, right: Tensor) -> dict[int, float]:
    """The share of right positions in each window that has any."""
    place = torch.arange(1, right.shape[1] + 1)
    found = {}
    for first, last in WINDOWS:
        beyond = last > 50
        inside = words.inside & (place >= first) & (place <= last)
        # The longer words' first positions are those of the shorter ones: each window comes from one kind of word.
        if inside.any() and beyond == (words.tokens.shape[1] > 50):
            found[last] = float(right[inside].float().mean())
    return found
