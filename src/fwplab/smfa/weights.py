"""Is the machine in the weights? What a model carries is read, and what its symbols change in it is written."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fwplab.languages import Language
from fwplab.languages.dataset import encode
from fwplab.model import Model
from fwplab.probes.words import flattened, grows, stream, walk
from fwplab.smfa.chain import Chain, Row
from fwplab.smfa.writing import Moment, Vectors, Written, write


@dataclass(frozen=True)
class Changed:
    """What one move changes in the state.

    `share`: the mean of |W' - W| / max(|W|, |W'|). `depth`: by how much the depth that is read off the state grows,
    mean and standard deviation, None for a machine that does not count. `written` is None for a move that one half of
    the words never made.
    """

    share: float
    depth: tuple[float, float] | None
    written: Written | None


@dataclass(frozen=True)
class Reading:
    """How well a machine's control and depth are read off a model's state, on words that the readout was not fitted to.

    `depth`: share of the variance that is explained (R squared), None for a machine that does not count. `control`:
    share of positions, None where there is one state alone; `majority`: what always guessing the commonest is worth.
    `changed`: by row and symbol, what its move changes.
    """

    depth: float | None
    control: float | None
    majority: float | None
    changed: Mapping[tuple[Row, str], Changed]


def read_off(model: Model, language: Language, chain: Chain, words: Sequence[str], seed: int) -> Reading | None:
    """Ridge regression on the standardised state, fitted to every second word and measured on the others.

    None where the state grows with the word or leaves the finite numbers, or where the machine rejects every word.
    """
    from sklearn.linear_model import Ridge, RidgeClassifier  # scikit-learn is slow to import, and an extra
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    moments = [_moments(language, chain, *read) for read in _walks(model, language, chain, words)]
    known, asked = ([moment for word in moments[part::2] for moment in word] for part in (0, 1))
    if not asked or not all(np.isfinite(moment.after).all() for moment in (*known, *asked)):
        return None
    before, second = (np.array(part) for part in zip(*((m.before, m.after) for m in asked), strict=True))
    first = np.array([known[0].before, *(moment.after for moment in known)])  # the start is a place too
    places, truth = np.array([known[0].place, *(m.then for m in known)]), np.array([m.then for m in asked])
    depth, control, majority, moved = None, None, None, [None] * len(asked)
    if chain.counts and truth[:, 1].std() > 0:
        reader = make_pipeline(StandardScaler(), Ridge()).fit(first, places[:, 1])
        depth = float(reader.score(second, truth[:, 1]))
        moved = (reader.predict(second) - reader.predict(before)).tolist()
    if len(np.unique(places[:, 0])) > 1:
        reader = make_pipeline(StandardScaler(), RidgeClassifier()).fit(first, places[:, 0])
        control = float(reader.score(second, truth[:, 0]))
        majority = float((truth[:, 0] == np.bincount(places[:, 0]).argmax()).mean())
    written = write(model, language, chain, known, asked, seed)
    return Reading(depth, control, majority, _changed(asked, moved, written))


def _walks(model: Model, language: Language, chain: Chain, words: Sequence[str]) -> list[tuple[str, Vectors]]:
    """The words that the machine takes, with the state before the first and after every symbol, flat, `[time + 1,
    numbers]`; none if the state grows."""
    words = [word for word in words if None not in chain.trajectory(word)]
    if not words or grows(model):
        return []
    tokens = torch.from_numpy(encode(language, words).tokens).clamp(max=len(language.symbols) - 1)
    states = [model.initial_state(len(words)), *(state for _, state in stream(model, tokens))]
    rows = torch.stack([torch.cat([flattened(layer) for layer in state], 1) for state in states], 1).detach()
    return [(word, row[: len(word) + 1].double().numpy()) for row, word in zip(rows, words, strict=True)]


def _moments(language: Language, chain: Chain, word: str, states: Vectors) -> list[Moment]:
    path = [(0, 0), *(place for place in chain.trajectory(word) if place is not None)]
    spoken = walk(language, word)
    return [Moment(path[n], s, path[n + 1], spoken[n], states[n], states[n + 1]) for n, s in enumerate(word)]


def _changed(
    moments: Sequence[Moment], moved: Sequence[float | None], written: Mapping[tuple[Row, str], Written]
) -> dict[tuple[Row, str], Changed]:
    shares, depths = defaultdict(list), defaultdict(list)
    for moment, depth in zip(moments, moved, strict=True):
        larger = max(np.linalg.norm(moment.before), np.linalg.norm(moment.after))
        shares[moment.move].append(float(np.linalg.norm(moment.after - moment.before) / (larger or 1.0)))
        if depth is not None:
            depths[moment.move].append(depth)
    return {
        move: Changed(
            float(np.mean(each)),
            (float(np.mean(depths[move])), float(np.std(depths[move]))) if depths[move] else None,
            written.get(move),
        )
        for move, each in sorted(shares.items())
    }
