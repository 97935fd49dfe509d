"""Is the machine in the weights? What a model carries is read, and what its symbols change in it is written."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fwplab.languages import Language
from fwplab.languages.dataset import encode
from fwplab.model import Model
from fwplab.probes.words import grows, joined, stream, walk
from fwplab.smfa.chain import Chain, Row
from fwplab.smfa.writing import Moment, Vectors, Written, write

FEWEST = 20
"""Moments to measure a readout on; with fewer nothing is said of it."""


@dataclass(frozen=True)
class Changed:
    """What one move changes in the state.

    `share`: the mean of |W' - W| / max(|W|, |W'|). `depth`: by how much the depth that is read off the state grows on
    words that the readout was not fitted to, mean and standard deviation. None where no such word makes the move, or
    nothing could be written.
    """

    share: float
    depth: tuple[float, float] | None
    written: Written | None


@dataclass(frozen=True)
class Reading:
    """How well a machine's control and depth are read off a model's state, on words that the readout was not fitted to.

    `depth`: share of the variance that is explained (R squared), `control`: share of positions, `majority`: what always
    guessing the commonest is worth. None where the machine does not count, has a single state, or other words have too
    few beginnings of their own, or all in one state. `changed`: by row and symbol, what its move changes.
    """

    depth: float | None
    control: float | None
    majority: float | None
    changed: Mapping[tuple[Row, str], Changed]

    @property
    def written(self) -> Written:
        """All moves together."""
        return sum((changed.written for changed in self.changed.values() if changed.written), Written())


def read_off(
    model: Model, language: Language, chain: Chain, words: Sequence[str], generator: np.random.Generator
) -> Reading | None:
    """Ridge regression on the standardised state, fitted to every second word, and measured on those beginnings of the
    others that are no beginning of these.

    None where the state grows with the word or leaves the finite numbers, or where the machine rejects every word.
    """
    known, asked = (_moments(model, language, chain, words[part::2]) for part in (0, 1))
    moments = [*known.values(), *(moment for beginning, moment in asked.items() if beginning not in known)]
    if not moments or not all(np.isfinite(moment.after).all() for moment in moments):
        return None
    first, second = moments[: len(known)], moments[len(known) :]
    depth, control, majority, moved = None, None, None, dict[tuple[Row, str], list[float]]()
    if first and len(second) >= FEWEST:
        depth, moved = _depth(first, second) if chain.counts else (None, moved)
        control, majority = _control(first, second)
    written = write(model, language, chain, moments, generator)
    return Reading(depth, control, majority, _changed(moments, moved, written))


def _moments(model: Model, language: Language, chain: Chain, words: Sequence[str]) -> dict[str, Moment]:
    """All beginnings of the words that the machine takes; none if the state grows."""
    words = [word for word in words if None not in chain.trajectory(word)]
    if not words or grows(model):
        return {}
    tokens = torch.from_numpy(encode(language, words).tokens).clamp(max=len(language.symbols) - 1)
    states = [model.initial_state(len(words)), *(state for _, state in stream(model, tokens))]
    walks = torch.stack([joined(state) for state in states], 1).detach()
    found = {}
    for word, walked in zip(words, walks.double().numpy(), strict=True):
        path = [(0, 0), *(place for place in chain.trajectory(word) if place is not None)]
        for n, state in enumerate(walk(language, word)):
            beginning = word[: n + 1]
            found[beginning] = Moment(beginning, path[n], path[n + 1], walked[n], walked[n + 1], state)
    return found


def _depth(known: Sequence[Moment], asked: Sequence[Moment]) -> tuple[float | None, dict[tuple[Row, str], list[float]]]:
    """R squared of the depth that is read, and by how much it grows at each move."""
    from sklearn.linear_model import Ridge  # scikit-learn is slow to import, and an extra
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = np.array([moment.then[1] for moment in asked])
    if truth.std() == 0:
        return None, {}
    states = np.array([known[0].before, *(moment.after for moment in known)])  # the start is a place too
    reader = make_pipeline(StandardScaler(), Ridge()).fit(states, [0, *(moment.then[1] for moment in known)])
    before, after = (np.array(part) for part in zip(*((m.before, m.after) for m in asked), strict=True))
    moved = defaultdict(list)
    for moment, change in zip(asked, (reader.predict(after) - reader.predict(before)).tolist(), strict=True):
        moved[moment.move].append(change)
    return float(reader.score(after, truth)), moved


def _control(known: Sequence[Moment], asked: Sequence[Moment]) -> tuple[float | None, float | None]:
    """At what share of positions the control is read right, and that of the commonest."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (states, controls), (others, truth) = (
        (np.array([moment.after for moment in part]), np.array([moment.then[0] for moment in part]))
        for part in (known, asked)
    )
    if min(len(np.unique(controls)), len(np.unique(truth))) < 2:
        return None, None
    reader = make_pipeline(StandardScaler(), RidgeClassifier()).fit(states, controls)
    return float(reader.score(others, truth)), float((truth == np.bincount(controls).argmax()).mean())


def _changed(
    moments: Sequence[Moment], moved: Mapping[tuple[Row, str], list[float]], written: Mapping[tuple[Row, str], Written]
) -> dict[tuple[Row, str], Changed]:
    shares = defaultdict(list)
    for moment in moments:
        larger = max(_size(moment.before), _size(moment.after))
        shares[moment.move].append(_size(moment.after - moment.before) / (larger or 1.0))
    found = {}
    for move, each in sorted(shares.items()):
        depths = moved.get(move)
        depth = (float(np.mean(depths)), float(np.std(depths))) if depths else None
        found[move] = Changed(float(np.mean(each)), depth, written.get(move))
    return found


def _size(vector: Vectors) -> float:
    return float(np.linalg.norm(vector))
