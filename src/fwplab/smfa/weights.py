"""Is the machine in the weights? Control and depth read linearly from what a model carries."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fwplab.languages import Language
from fwplab.languages.dataset import encode
from fwplab.model import Model
from fwplab.probes.words import flattened, grows, stream
from fwplab.smfa.chain import Chain, Row

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """How well a machine's control and depth are read off a model's state, on words that the readout was not fitted to.

    `depth`: share of the variance that is explained (R squared), None for a machine that does not count. `control`:
    share of positions, None where there is one state alone; `majority`: what always guessing the commonest is worth.
    `changed`: by row and symbol, how much of the state its move changes: the mean of |W' - W| / max(|W|, |W'|).
    """

    depth: float | None
    control: float | None
    majority: float | None
    changed: Mapping[tuple[Row, str], float]


def read_off(model: Model, language: Language, chain: Chain, words: Sequence[str]) -> Reading | None:
    """Ridge regression on the standardised state, fitted to the first half of the words and measured on the others.

    None where the state grows with the word or leaves the finite numbers, or where the machine rejects every word.
    """
    from sklearn.linear_model import Ridge, RidgeClassifier  # scikit-learn is slow to import, and an extra
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kept = [word for word in words if None not in chain.trajectory(word)]
    walks = _walks(model, language, kept) if len(kept) > 1 else []
    if not walks or not all(np.isfinite(walk).all() for walk in walks):
        return None
    half = len(kept) // 2
    places = [[place for place in chain.trajectory(word) if place is not None] for word in kept]
    first, second = (np.concatenate([walk[1:] for walk in part]) for part in (walks[:half], walks[half:]))
    known, asked = (np.array([place for each in part for place in each]) for part in (places[:half], places[half:]))
    depth, control, majority = None, None, None
    if chain.counts and asked[:, 1].std() > 0:
        depth = float(make_pipeline(StandardScaler(), Ridge()).fit(first, known[:, 1]).score(second, asked[:, 1]))
    if len(np.unique(known[:, 0])) > 1:
        reader = make_pipeline(StandardScaler(), RidgeClassifier()).fit(first, known[:, 0])
        control = float(reader.score(second, asked[:, 0]))
        majority = float((asked[:, 0] == np.bincount(known[:, 0]).argmax()).mean())
    return Reading(depth, control, majority, _changed(walks, places, kept))


def _walks(model: Model, language: Language, words: Sequence[str]) -> list[Vectors]:
    """The state before the first and after every symbol of each word, flat, `[time + 1, numbers]`; none if it grows."""
    if grows(model):
        return []
    tokens = torch.from_numpy(encode(language, words).tokens).clamp(max=len(language.symbols) - 1)
    states = [model.initial_state(len(words)), *(state for _, state in stream(model, tokens))]
    rows = torch.stack([torch.cat([flattened(layer) for layer in state], 1) for state in states], 1).detach()
    return [row[: len(word) + 1].double().numpy() for row, word in zip(rows, words, strict=True)]


def _changed(
    walks: Sequence[Vectors], places: Sequence[list[tuple[int, int]]], words: Sequence[str]
) -> dict[tuple[Row, str], float]:
    shares: dict[tuple[Row, str], list[float]] = defaultdict(list)
    for walk, path, word in zip(walks, places, words, strict=True):
        size = np.linalg.norm(walk, axis=1)
        larger = np.maximum(size[:-1], size[1:])
        moved = np.linalg.norm(np.diff(walk, axis=0), axis=1) / np.where(larger > 0, larger, 1.0)
        for (control, depth), symbol, share in zip([(0, 0), *path], word, moved.tolist(), strict=False):
            shares[(control, depth > 0), symbol].append(share)
    return {key: float(np.mean(each)) for key, each in sorted(shares.items())}
